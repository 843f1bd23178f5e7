//! Names of files that somebody else has chosen, made safe.

use crate::link::is_unseen;

/// The longest safe name in bytes, so that a number still fits behind it.
pub const NAME_BYTES_MAX: usize = 200;
/// What is called by a name of which nothing is left.
const NAMELESS: &str = "file";

/// A name that stays in its directory and means a plain file, on every system: what stands behind the last slash of
/// either kind, without control characters and such as are not seen or turn the direction of writing, without dots in
/// front, without dots and spaces at its end, with `_` in place of characters that some system forbids, not one of the
/// names of devices, and at most [`NAME_BYTES_MAX`] bytes long. What is safe is left as it is.
pub fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let seen = last.chars().filter(|c| !c.is_control() && !is_unseen(*c) && !turns_text(*c));
    let plain: String = seen.map(|c| if is_forbidden(c) { '_' } else { c }).collect();
    let plain = plain.trim_start_matches(|c: char| c == '.' || c.is_whitespace());
    let mut safe = cut(trim_end(plain)).to_owned();
    if is_device(&safe) {
        safe.insert(0, '_');
        safe = cut(&safe).to_owned();
    }
    if safe.is_empty() { NAMELESS.to_owned() } else { safe }
}

fn trim_end(name: &str) -> &str {
    name.trim_end_matches(|c: char| c == '.' || c.is_whitespace())
}

/// Characters that Windows forbids; two of them part a drive or a stream from a name.
const fn is_forbidden(c: char) -> bool {
    matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*')
}

/// Characters that end a line in disguise or turn the direction in which others are shown.
const fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Names under which Windows knows devices, with any ending and in any case.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or_default();
    let stem = stem.trim_end_matches(' ').to_ascii_uppercase();
    let of_number = ["COM", "LPT"].iter().any(|device| {
        let number = stem.strip_prefix(device);
        number.is_some_and(|number| {
            let mut digits = number.chars();
            let digit = digits.next().is_some_and(|c| c.is_ascii_digit() || "¹²³".contains(c));
            digit && digits.next().is_none()
        })
    });
    of_number || matches!(&*stem, "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$" | "CLOCK$")
}

/// The beginning of a name that is too long.
fn cut(name: &str) -> &str {
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let mut end = NAME_BYTES_MAX;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    trim_end(&name[..end])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// E35.
    #[test]
    fn names_that_lead_elsewhere_or_mean_devices_are_made_plain() {
        for (wild, safe) in [
            ("photo.jpg", "photo.jpg"),
            ("Grüße 2026.txt", "Grüße 2026.txt"),
            ("..", "file"),
            (".", "file"),
            ("", "file"),
            ("../../etc/passwd", "passwd"),
            ("/etc/shadow", "shadow"),
            ("..\\..\\boot.ini", "boot.ini"),
            ("C:\\Windows\\x.dll", "x.dll"),
            ("C:x.dll", "C_x.dll"),
            ("name:stream", "name_stream"),
            ("dir/", "file"),
            (".bashrc", "bashrc"),
            ("...x", "x"),
            ("x.txt. . ", "x.txt"),
            ("a\0b.txt", "ab.txt"),
            ("a\nb\x1b[2Jc", "ab[2Jc"),
            ("gpj.\u{202e}exe", "gpj.exe"),
            ("a\u{200b}b", "ab"),
            ("CON", "_CON"),
            ("con.txt", "_con.txt"),
            ("Nul.tar.gz", "_Nul.tar.gz"),
            ("aux .c", "_aux .c"),
            ("COM1", "_COM1"),
            ("lpt9.log", "_lpt9.log"),
            ("COM¹", "_COM¹"),
            ("COM10", "COM10"),
            ("conin$", "_conin$"),
            ("console.txt", "console.txt"),
            ("a<b>c|d?e*f\"g", "a_b_c_d_e_f_g"),
            ("   spaces  ", "spaces"),
        ] {
            assert_eq!(safe_name(wild), safe, "{wild:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let long = "ü".repeat(300);
        assert_eq!(safe_name(&long), "ü".repeat(100));
        assert_eq!(safe_name(&format!("CON.{}", "x".repeat(300))).len(), NAME_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn whatever_a_name_is_it_is_one_safe_component(name in any::<String>()) {
            let safe = safe_name(&name);
            prop_assert!((1..=NAME_BYTES_MAX).contains(&safe.len()));
            prop_assert!(!safe.contains(['/', '\\', '\0', ':']) && !safe.starts_with('.'));
            prop_assert!(!safe.ends_with(['.', ' ']) && !is_device(&safe));
            prop_assert_eq!(safe_name(&safe), safe.clone());
            let path = std::path::Path::new(&safe);
            prop_assert_eq!(path.components().count(), 1);
            prop_assert_eq!(path.file_name(), Some(safe.as_ref()));
        }
    }
}
