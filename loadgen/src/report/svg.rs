//! Line charts as SVG: axes, lines, areas, bands, marks, values on hover. Knows nothing of mail. Pure.
//!
//! Scales are linear: whoever wants a logarithm gives logarithms, and ticks that say what they stand for. Colours are
//! classes, so that the page's style (light or dark) decides.

use std::fmt::Write as _;

/// Space for the labels of the y axis.
const LEFT: f64 = 62.0;
const TOP: f64 = 10.0;
/// Space for the labels of the x axis and its name.
const BOTTOM: f64 = 38.0;
const RIGHT: f64 = 14.0;
/// The same where lines are named at their ends.
const RIGHT_NAMED: f64 = 104.0;
/// Least distance of two such names.
const NAME_GAP: f64 = 14.0;

/// An axis.
#[derive(Debug, Clone, Default)]
pub struct Axis {
    /// Least value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Values with their labels, ascending.
    pub ticks: Vec<(f64, String)>,
    /// What it shows.
    pub name: String,
}

impl Axis {
    /// From 0 to at least `most`, with about `count` round ticks.
    pub fn from_zero(most: f64, count: usize, name: &str, label: impl Fn(f64) -> String) -> Self {
        let most = if most.is_finite() && most > 0.0 { most } else { 1.0 };
        let step = round_step(most / count.max(1) as f64);
        let steps = (most / step - 1e-9).ceil().max(1.0) as usize;
        let ticks = (0..=steps).map(|n| (n as f64 * step, label(n as f64 * step))).collect();
        Axis { min: 0.0, max: steps as f64 * step, ticks, name: name.to_owned() }
    }

    /// The same, ending at `most` exactly: for time.
    pub fn until(most: f64, count: usize, name: &str, label: impl Fn(f64) -> String) -> Self {
        let mut axis = Self::from_zero(most, count, name, label);
        if most > 0.0 {
            axis.max = most;
            axis.ticks.retain(|(value, _)| *value <= most);
        }
        axis
    }

    fn part(&self, value: f64) -> f64 {
        let span = self.max - self.min;
        if span > 0.0 { ((value - self.min) / span).clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * (1.0 - 1e-9)).unwrap_or(10.0);
    factor * power
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Drawn {
    /// A line.
    #[default]
    Line,
    /// A line and what is below it.
    Area,
    /// A broken line.
    Dashed,
}

/// A line.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Its name, in the legend or at its end.
    pub name: String,
    /// Class of its colour: `c1` to `c8`, `bad`, `quiet`.
    pub class: &'static str,
    /// How it is drawn.
    pub drawn: Drawn,
    /// Its points, by x.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// What it shows, for those who do not see it.
    pub title: String,
    /// Units of the drawing.
    pub width: f64,
    /// Units of the drawing.
    pub height: f64,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical one.
    pub y: Axis,
    /// The lines, the first one drawn first.
    pub series: Vec<Series>,
    /// Shaded from x to x, with a word.
    pub bands: Vec<(f64, f64, String)>,
    /// Texts shown where the pointer is: from x to x.
    pub hints: Vec<(f64, f64, String)>,
    /// Lines are named at their ends.
    pub is_named: bool,
}

/// Text as it stands in HTML and SVG.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'), // not a character of XML
            c => out.push(c),
        }
    }
    out
}

impl Chart {
    fn right(&self) -> f64 {
        self.width - if self.is_named { RIGHT_NAMED } else { RIGHT }
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.part(x) * (self.right() - LEFT)
    }

    fn py(&self, y: f64) -> f64 {
        let bottom = self.height - BOTTOM;
        bottom - self.y.part(y) * (bottom - TOP)
    }

    /// The chart as an `svg` element.
    pub fn svg(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            out,
            "<svg viewBox=\"0 0 {:.0} {:.0}\" role=\"img\" aria-label=\"{}\">",
            self.width,
            self.height,
            escape(&self.title)
        );
        self.draw_bands(&mut out);
        self.draw_axes(&mut out);
        self.series.iter().for_each(|series| self.draw_series(&mut out, series));
        if self.is_named {
            self.draw_names(&mut out);
        }
        self.draw_hints(&mut out);
        out.push_str("</svg>\n");
        out
    }

    fn draw_bands(&self, out: &mut String) {
        for (from, to, word) in &self.bands {
            let (left, right) = (self.px(*from), self.px(*to));
            let height = self.height - BOTTOM - TOP;
            let _ = writeln!(
                out,
                "<rect class=\"band\" x=\"{left:.1}\" y=\"{TOP:.1}\" width=\"{:.1}\" height=\"{height:.1}\"/>\
                 <text class=\"band-word\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                right - left,
                left + 5.0,
                TOP + 13.0,
                escape(word)
            );
        }
    }

    fn draw_axes(&self, out: &mut String) {
        let (right, bottom) = (self.right(), self.height - BOTTOM);
        for (value, label) in &self.y.ticks {
            let y = self.py(*value);
            let _ = writeln!(
                out,
                "<line class=\"grid\" x1=\"{LEFT:.1}\" y1=\"{y:.1}\" x2=\"{right:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 7.0,
                y + 4.0,
                escape(label)
            );
        }
        for (value, label) in &self.x.ticks {
            let x = self.px(*value);
            let _ = writeln!(
                out,
                "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{bottom:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 4.0,
                bottom + 17.0,
                escape(label)
            );
        }
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{LEFT:.1}\" y1=\"{bottom:.1}\" x2=\"{right:.1}\" y2=\"{bottom:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            right,
            self.height - 5.0,
            escape(&self.x.name)
        );
    }

    fn draw_series(&self, out: &mut String, series: &Series) {
        let points: Vec<String> =
            series.points.iter().map(|(x, y)| format!("{:.1},{:.1}", self.px(*x), self.py(*y))).collect();
        let (Some(first), Some(last)) = (series.points.first(), series.points.last()) else { return };
        let line = points.join(" ");
        if series.drawn == Drawn::Area {
            let bottom = self.height - BOTTOM;
            let _ = writeln!(
                out,
                "<polygon class=\"area {}\" points=\"{:.1},{bottom:.1} {line} {:.1},{bottom:.1}\"/>",
                series.class,
                self.px(first.0),
                self.px(last.0)
            );
        }
        let dashed = if series.drawn == Drawn::Dashed { " dashed" } else { "" };
        let _ = writeln!(out, "<polyline class=\"line {}{dashed}\" points=\"{line}\"/>", series.class);
        if let [(x, y)] = series.points[..] {
            let _ = writeln!(
                out,
                "<circle class=\"dot {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>",
                series.class,
                self.px(x),
                self.py(y)
            );
        }
    }

    /// Names at the right edge, moved apart where lines end near each other.
    fn draw_names(&self, out: &mut String) {
        let ends = self.series.iter().filter_map(|series| Some((self.py(series.points.last()?.1), series)));
        let mut ends: Vec<_> = ends.collect();
        ends.sort_by(|a, b| a.0.total_cmp(&b.0));
        let lowest = self.height - BOTTOM + 4.0;
        let mut places: Vec<f64> = Vec::new();
        for (wanted, _) in &ends {
            let least = places.last().map_or(TOP + 6.0, |place| place + NAME_GAP);
            places.push(wanted.max(least));
        }
        // Pushed out at the bottom: back up.
        let mut most = lowest;
        for place in places.iter_mut().rev() {
            *place = place.min(most);
            most = *place - NAME_GAP;
        }
        for (place, (end, series)) in places.iter().zip(&ends) {
            let (x, from) = (self.right() + 22.0, series.points.last().map_or(0.0, |point| self.px(point.0)));
            let _ = writeln!(
                out,
                "<polyline class=\"leader {0}\" points=\"{from:.1},{end:.1} {1:.1},{end:.1} {2:.1},{place:.1} {3:.1},{place:.1}\"/>\
                 <text class=\"name\" x=\"{x:.1}\" y=\"{4:.1}\">{5}</text>",
                series.class,
                self.right(),
                self.right() + 10.0,
                x - 3.0,
                place + 4.0,
                escape(&series.name)
            );
        }
    }

    fn draw_hints(&self, out: &mut String) {
        let height = self.height - BOTTOM - TOP;
        for (from, to, text) in &self.hints {
            let (left, right) = (self.px(*from), self.px(*to));
            let _ = writeln!(
                out,
                "<rect class=\"hint\" x=\"{left:.1}\" y=\"{TOP:.1}\" width=\"{:.1}\" height=\"{height:.1}\"><title>{}</title></rect>",
                (right - left).max(0.5),
                escape(text)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_data() {
        let label = |value: f64| format!("{value}");
        for (most, top, count) in
            [(97.0, 100.0, 6), (0.0, 1.0, 6), (4321.0, 5000.0, 6), (1.0, 1.0, 6), (250.0, 250.0, 6)]
        {
            let axis = Axis::from_zero(most, 5, "", label);
            assert!((axis.max - top).abs() < 1e-9, "{most}: {}", axis.max);
            assert_eq!(axis.ticks.len(), count, "{most}: {:?}", axis.ticks);
        }
        let time = Axis::until(62.0, 6, "", label);
        assert!((time.max - 62.0).abs() < 1e-9 && time.ticks.last().is_some_and(|(value, _)| *value <= 62.0));
    }

    #[test]
    fn names_do_not_lie_on_each_other_and_text_is_escaped() {
        let line = |name: &str| Series {
            name: name.into(),
            class: "c1",
            points: vec![(0.0, 0.5), (1.0, 0.5)],
            ..Series::default()
        };
        let axis = Axis::from_zero(1.0, 2, "<x>", |value| value.to_string());
        let chart = Chart {
            title: "a & b".into(),
            width: 500.0,
            height: 200.0,
            x: axis.clone(),
            y: axis,
            series: vec![line("one"), line("<two>"), line("three")],
            is_named: true,
            ..Chart::default()
        };
        let svg = chart.svg();
        let document = roxmltree::Document::parse(&svg).expect("well-formed");
        let names = document.descendants().filter(|node| node.attribute("class") == Some("name"));
        let mut places: Vec<f64> =
            names.map(|node| node.attribute("y").expect("y").parse().expect("a number")).collect();
        places.sort_by(f64::total_cmp);
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= NAME_GAP - 0.2), "{places:?}");
        assert_eq!(document.root_element().attribute("aria-label"), Some("a & b"));
        assert!(svg.contains("&lt;two&gt;"));
    }
}
