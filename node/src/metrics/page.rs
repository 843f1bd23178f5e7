//! The status page: what a relay is, who runs it and what it is good for, for whoever comes by.
//!
//! Entry function is [`html`]. One document without a script and without anything from elsewhere. It
//! names no person, no mailbox and no other relay, and whatever an operator has written stands in it
//! as text.

use std::fmt::Write;
use std::time::SystemTime;

use crate::config::OperatorConfig;
use crate::figures::Work;
use crate::status::{size, time};

use super::VERSION;

/// What the page may do: show itself with the style that it brings along, and nothing else.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
                                 form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2733;--paper:#f7f8fa;--card:#fff;--faint:#64707d;--line:#dde2e8;--sign:#2f7d4f}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--paper:#14181d;--card:#1c2229;--faint:#94a0ac;--line:#2d353e;--sign:#63c28b}}
body{margin:0;padding:2rem 1rem;background:var(--paper);color:var(--ink);font:1rem/1.5 system-ui,sans-serif}
main{max-width:40rem;margin:auto;padding:1.5rem 2rem;background:var(--card);border:1px solid var(--line);border-radius:.75rem}
h1{margin:0 0 .25rem;font-size:1.4rem;line-height:1.25;overflow-wrap:anywhere}
p{margin:.5rem 0}
.state{color:var(--sign);font-weight:600}
.state.off,footer,dt{color:var(--faint)}
dl{display:grid;grid-template-columns:auto 1fr;gap:.4rem 1.5rem;margin:1.5rem 0;padding-top:1rem;border-top:1px solid var(--line)}
dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
footer{font-size:.875rem}
@media(max-width:30rem){main{padding:1rem}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.6rem}}
";

/// The page of a relay that `operator` runs and that has done this `work`, or does not serve now.
pub(super) fn html(operator: &OperatorConfig, work: Option<&Work>) -> String {
    let mut page = String::with_capacity(4_096);
    // A text takes in whatever it is given.
    let _ = write_page(&mut page, operator, work);
    page
}

fn write_page(
    page: &mut String,
    operator: &OperatorConfig,
    work: Option<&Work>,
) -> std::fmt::Result {
    let name = operator.name.as_deref().map(escaped);
    let title = match &name {
        Some(name) => format!("<bdi>{name}</bdi>, a relay of the comm network"),
        None => "A relay of the comm network".to_owned(),
    };
    let head = name.as_deref().map_or("A relay of the comm network", |name| name);
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{head}</title>\n<style>\n{STYLE}</style>\n<main>\n<h1>{title}</h1>\n"
    )?;
    page.push_str(match work {
        Some(work) if work.serves_others => "<p class=\"state\">It serves.</p>\n",
        Some(_) => "<p class=\"state off\">It rests: it has carried what its operator gives for this time.</p>\n",
        None => "<p class=\"state off\">It does not serve at the moment.</p>\n",
    });
    page.push_str(
        "<p>It keeps sealed messages of people who are away until they come for them. It cannot read \
         them and does not know who wrote them.</p>\n<dl>\n",
    );
    if let Some(contact) = &operator.contact {
        row(page, "contact", &format!("<bdi>{}</bdi>", escaped(contact)))?;
    }
    if let Some(work) = work {
        write_work(page, work)?;
    }
    row(page, "version", VERSION)?;
    page.push_str(
        "</dl>\n<footer>Counted since it began. Nothing here tells of a person, a mailbox or another \
         relay.</footer>\n</main>\n</html>\n",
    );
    Ok(())
}

fn write_work(page: &mut String, work: &Work) -> std::fmt::Result {
    let up = work.began.elapsed().unwrap_or_default();
    row(page, "up since", &format!("{} ({})", moment(work.began), time(up.as_secs())))?;
    let stored = format!("{}, {}", envelopes(work.envelopes), size(work.envelope_bytes));
    row(page, "waiting here now", &stored)?;
    let read = format!("{} of others", envelopes(work.acknowledged_for_others));
    row(page, "kept until they were read", &read)?;
    row(page, "handed on", &format!("{} to other relays", envelopes(work.relayed)))?;
    let bytes = format!("{} received, {} sent", size(work.received_bytes), size(work.sent_bytes));
    row(page, "carried between relays", &bytes)?;
    let links =
        format!("{} from other relays, {} to them", work.accepted_links, work.dialled_links);
    row(page, "open connections", &links)
}

fn row(page: &mut String, what: &str, how: &str) -> std::fmt::Result {
    writeln!(page, "<dt>{what}</dt><dd>{how}</dd>")
}

fn envelopes(count: u64) -> String {
    format!("{} {}", grouped(count), if count == 1 { "envelope" } else { "envelopes" })
}

/// A text that stands for itself wherever HTML takes text.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

/// A moment as programs and people everywhere read it.
fn moment(time: SystemTime) -> String {
    httpdate::fmt_http_date(time)
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn operator(name: &str, contact: &str) -> OperatorConfig {
        OperatorConfig { name: Some(name.to_owned()), contact: Some(contact.to_owned()) }
    }

    /// A relay that has done nothing yet.
    fn idle() -> Work {
        Work {
            serves_others: true,
            began: UNIX_EPOCH + Duration::from_secs(784_111_777),
            envelopes: 0,
            envelope_bytes: 0,
            relayed: 0,
            acknowledged_for_others: 0,
            received_bytes: 0,
            sent_bytes: 0,
            accepted_links: 0,
            dialled_links: 0,
        }
    }

    #[test]
    fn whatever_an_operator_writes_is_text() {
        let hostile =
            operator("</title><script>alert(1)</script>", "\"'><img src=x onerror=y>&amp;");
        for work in [None, Some(&idle())] {
            let page = html(&hostile, work);
            assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
            assert!(page.contains("<title>&lt;/title&gt;&lt;script&gt;alert(1)"), "{page}");
            assert!(page.contains("&quot;&#39;&gt;&lt;img src=x onerror=y&gt;&amp;amp;"), "{page}");
        }
    }

    #[test]
    fn it_says_what_the_relay_has_done_and_since_when() {
        let work = Work {
            envelopes: 1_234_567,
            acknowledged_for_others: 890,
            received_bytes: 9 << 30,
            accepted_links: 7,
            ..idle()
        };
        let page = html(&OperatorConfig::default(), Some(&work));
        for part in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "1,234,567 envelopes",
            "890 envelopes of others",
            "9GiB received",
            "7 from other relays, 0 to them",
            VERSION,
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("contact"), "{page}");
    }

    #[test]
    fn nothing_is_fetched_from_elsewhere_and_the_page_stays_small() {
        let longest = operator(&"&".repeat(OperatorConfig::NAME_CHARS_MAX), &"\"".repeat(256));
        let most = Work { envelopes: u64::MAX, relayed: u64::MAX, ..idle() };
        let page = html(&longest, Some(&most));
        for fetching in ["http:", "https:", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(fetching), "{fetching} is in {page}");
        }
        assert!(page.len() < 8_192, "{}", page.len());
    }

    #[test]
    fn thousands_stand_apart() {
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
