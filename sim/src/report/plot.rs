//! Plots as SVG without fonts, scripts or anything from elsewhere; colours come from the page's style.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 48.0;
/// Colours of series in the page's style; more series start again.
const COLOURS: usize = 8;
/// How high a line of the legend is in a file of its own.
const LINE: f64 = 16.0;
/// What drawings look like, in a page and alone.
pub(super) const STYLE: &str = include_str!("plot.css");

/// What was drawn: for a page, or for a file of its own.
pub struct Drawing {
    title: String,
    height: f64,
    body: String,
    /// Colours and names of series.
    legend: Vec<(usize, String)>,
}

/// A direction of a plot.
pub(super) struct Axis {
    /// What is counted along it.
    pub(super) label: String,
    /// The least and the greatest shown.
    pub(super) range: (f64, f64),
    /// Whether equal factors are equally far apart.
    pub(super) logarithmic: bool,
    /// Where lines are drawn, and what is written beside them.
    pub(super) ticks: Vec<(f64, String)>,
}

/// A line through points, perhaps within a band.
pub(super) struct Series {
    /// For the legend; without a name it is not in it.
    pub(super) name: String,
    /// From left to right.
    pub(super) points: Vec<(f64, f64)>,
    /// Position, least and greatest of the band.
    pub(super) band: Vec<(f64, f64, f64)>,
    /// Positions at which the figure is *never*: marked at the edge, off the scale.
    pub(super) never: Vec<f64>,
}

/// A level to compare with.
pub(super) struct Level {
    /// What it is.
    pub(super) name: String,
    /// How high.
    pub(super) at: f64,
    /// At which position alone, if not at all.
    pub(super) only: Option<f64>,
    /// A goal of this project or a figure of others.
    pub(super) goal: bool,
}

impl Drawing {
    /// As part of a page.
    pub(super) fn html(&self) -> String {
        let title = escaped(&self.title);
        let entry = |(colour, name): &(usize, String)| {
            format!("<span class=\"c{colour}\">&#9632;</span> {} ", escaped(name))
        };
        let entries = self.legend.iter().map(entry).collect::<String>();
        let legend = format!("<p class=\"legend\">{entries}</p>");
        let legend = if entries.is_empty() { "" } else { &legend };
        format!(
            "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{title}\">{}</svg>{legend}</figure>\n",
            self.height, self.body
        )
    }

    /// As a file of its own.
    pub fn svg(&self) -> String {
        let title = escaped(&self.title);
        let height = self.height + LINE * self.legend.len() as f64;
        let entry = |(row, (colour, name)): (usize, &(usize, String))| {
            let y = self.height + LINE * row as f64 + 8.0;
            let name = escaped(name);
            format!(
                "<text class=\"c{colour}\" x=\"{LEFT}\" y=\"{y:.1}\"><tspan class=\"key\">&#9632;</tspan> {name}</text>"
            )
        };
        let legend = self.legend.iter().enumerate().map(entry).collect::<String>();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\"><title>{title}</title><style>\n{STYLE}</style><rect class=\"paper\" width=\"100%\" height=\"100%\"/>{}{legend}</svg>\n",
            self.body
        )
    }

    /// What it shows.
    pub fn title(&self) -> &str {
        &self.title
    }
}

/// A plot with its legend.
pub(super) fn plot(
    title: &str,
    x: &Axis,
    y: &Axis,
    series: &[Series],
    levels: &[Level],
) -> Drawing {
    let mut body = grid(x, y);
    for (number, series) in series.iter().enumerate() {
        body += &line(series, number % COLOURS, x, y);
    }
    levels.iter().for_each(|level| body += &reference(level, x, y));
    Drawing { title: title.to_owned(), height: HEIGHT, body, legend: legend(series) }
}

/// Bars to the right with their names.
pub(super) fn bars(title: &str, bars: &[(String, f64, String)]) -> Drawing {
    let most = bars.iter().map(|(_, value, _)| *value).fold(0.0, f64::max);
    let height = 8.0 + 22.0 * bars.len() as f64;
    let mut svg = String::new();
    for (number, (name, value, text)) in bars.iter().enumerate() {
        let top = 4.0 + 22.0 * number as f64;
        let length = if most > 0.0 { value / most * 340.0 } else { 0.0 };
        let _ = write!(
            svg,
            "<text class=\"end\" x=\"180\" y=\"{:.1}\">{}</text><rect class=\"bar\" x=\"188\" y=\"{top:.1}\" width=\"{length:.1}\" height=\"18\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            top + 13.0,
            escaped(name),
            196.0 + length,
            top + 13.0,
            escaped(text)
        );
    }
    Drawing { title: title.to_owned(), height, body: svg, legend: Vec::new() }
}

/// Text that is safe between tags and in attributes.
pub(super) fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    text.replace('"', "&quot;").replace('\'', "&#39;")
}

/// Round numbers that divide a range into about five parts.
pub(super) fn round_ticks((least, greatest): (f64, f64)) -> Vec<f64> {
    let rough = (greatest - least) / 5.0;
    if rough.is_nan() || rough <= 0.0 {
        return vec![least];
    }
    let mut step = 1.0_f64;
    while step > rough {
        step /= 10.0;
    }
    while step * 10.0 <= rough {
        step *= 10.0;
    }
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| step * times).find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let first = (least / step - 1e-9).ceil() as i64;
    let last = (greatest / step + 1e-9).floor() as i64;
    (first..=last).map(|number| number as f64 * step).collect()
}

impl Axis {
    /// How far along it a value lies, from 0 to 1; what lies outside stays at the edge.
    fn part(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.max(1e-9).ln() } else { value };
        let (least, greatest) = (scale(self.range.0), scale(self.range.1));
        if greatest <= least {
            0.5
        } else {
            ((scale(value) - least) / (greatest - least)).clamp(0.0, 1.0)
        }
    }
}

fn across(axis: &Axis, value: f64) -> f64 {
    LEFT + axis.part(value) * (WIDTH - LEFT - RIGHT)
}

fn up(axis: &Axis, value: f64) -> f64 {
    HEIGHT - BOTTOM - axis.part(value) * (HEIGHT - TOP - BOTTOM)
}

fn grid(x: &Axis, y: &Axis) -> String {
    let mut svg = String::new();
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for (value, text) in &x.ticks {
        let at = across(x, *value);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/><text class=\"middle\" x=\"{at:.1}\" y=\"{:.1}\">{}</text>",
            bottom + 16.0,
            escaped(text)
        );
    }
    for (value, text) in &y.ticks {
        let at = up(y, *value);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{right}\"/><text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            escaped(text)
        );
    }
    let middle = (LEFT + right) / 2.0;
    let _ = write!(
        svg,
        "<text class=\"middle\" x=\"{middle}\" y=\"{}\">{}</text>",
        HEIGHT - 10.0,
        escaped(&x.label)
    );
    let _ = write!(svg, "<text x=\"4\" y=\"11\">{}</text>", escaped(&y.label));
    svg
}

fn line(series: &Series, colour: usize, x: &Axis, y: &Axis) -> String {
    let place = |(a, b): (f64, f64)| format!("{:.1},{:.1}", across(x, a), up(y, b));
    let points = series.points.iter().copied().map(place).collect::<Vec<_>>();
    let upper = series.band.iter().map(|(at, _, high)| place((*at, *high)));
    let lower = series.band.iter().rev().map(|(at, low, _)| place((*at, *low)));
    let band = upper.chain(lower).collect::<Vec<_>>().join(" ");
    let mut svg = String::new();
    if !band.is_empty() {
        let _ = write!(svg, "<polygon class=\"band c{colour}\" points=\"{band}\"/>");
    }
    let _ = write!(svg, "<polyline class=\"line c{colour}\" points=\"{}\"/>", points.join(" "));
    // Where a band is, there are few points, and each was measured: show which.
    for (a, b) in series.points.iter().filter(|_| !series.band.is_empty()) {
        let _ = write!(
            svg,
            "<circle class=\"dot c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
            across(x, *a),
            up(y, *b)
        );
    }
    for at in &series.never {
        let at = across(x, *at);
        let _ = write!(
            svg,
            "<path class=\"line c{colour}\" d=\"M{:.1} {:.1}l8 8m0 -8l-8 8\"/><text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">never</text>",
            at - 4.0,
            TOP - 12.0,
            at + 7.0,
            TOP - 4.0
        );
    }
    svg
}

fn reference(level: &Level, x: &Axis, y: &Axis) -> String {
    let at = up(y, level.at);
    let (from, to) = match level.only {
        Some(only) => {
            ((across(x, only) - 24.0).max(LEFT), (across(x, only) + 24.0).min(WIDTH - RIGHT))
        }
        None => (LEFT, WIDTH - RIGHT),
    };
    let class = if level.goal { "goal" } else { "published" };
    let above = if at < TOP + 14.0 { at + 13.0 } else { at - 4.0 };
    format!(
        "<path class=\"{class}\" d=\"M{from:.1} {at:.1}H{to:.1}\"/><text class=\"end small\" x=\"{to:.1}\" y=\"{above:.1}\">{}</text>",
        escaped(&level.name)
    )
}

fn legend(series: &[Series]) -> Vec<(usize, String)> {
    let named = series.iter().enumerate().filter(|(_, series)| !series.name.is_empty());
    named.map(|(number, series)| (number % COLOURS, series.name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(round_ticks((0.0, 1.0)), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(round_ticks((0.0, 700.0)), [0.0, 200.0, 400.0, 600.0]);
        assert_eq!(round_ticks((3.0, 3.0)), [3.0]);
    }

    #[test]
    fn no_text_becomes_a_tag() {
        assert_eq!(escaped("<a b='c' \"d\"> & e"), "&lt;a b=&#39;c&#39; &quot;d&quot;&gt; &amp; e");
    }
}
