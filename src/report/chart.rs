//! Weight, errors and latency over time, as one picture.

use std::fmt::Write as _;

use super::{Part, Report, milliseconds};
use crate::journal::Sample;
use crate::time::Timestamp;

/// The picture, in its own units.
const WIDTH: f64 = 720.0;

/// The height of one panel with its title.
const PANEL: f64 = 90.0;

/// What is left of and right of the curves.
const MARGIN: f64 = 60.0;

/// The height of a curve.
const CURVE: f64 = 60.0;

/// One panel: where it stands, and what its top means.
struct Panel {
    top: f64,
    most: f64,
}

/// Time as a place from left to right.
struct Axis {
    from: f64,
    span: f64,
}

impl Axis {
    fn place(&self, at: Timestamp) -> f64 {
        let along = ((at.millis() as f64 - self.from) / self.span).clamp(0.0, 1.0);
        MARGIN + along * (WIDTH - MARGIN - 10.0)
    }
}

impl Panel {
    fn place(&self, value: f64) -> f64 {
        self.top + 20.0 + CURVE * (1.0 - (value / self.most).clamp(0.0, 1.0))
    }

    fn frame(&self, svg: &mut String, title: &str, most: &str) {
        let (top, bottom) = (self.top + 20.0, self.top + 20.0 + CURVE);
        let (title_at, right) = (self.top + 12.0, WIDTH - 10.0);
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN}\" y=\"{title_at:.0}\">{title}</text><path class=\"axis\" \
             d=\"M{MARGIN} {top:.0}V{bottom:.0}H{right:.0}\"/><text x=\"{0:.0}\" y=\"{1:.0}\" \
             text-anchor=\"end\">{most}</text><text x=\"{0:.0}\" y=\"{bottom:.0}\" \
             text-anchor=\"end\">0</text>",
            MARGIN - 6.0,
            top + 8.0
        );
    }
}

/// The picture of `part` between the ends of the report.
pub(super) fn draw(part: &Part, report: &Report) -> String {
    let (from, until) = (report.from, report.until);
    let last = part.samples.iter().map(|sample| sample.at).max().unwrap_or(until).max(until);
    let axis =
        Axis { from: from.millis() as f64, span: (last.since(from).as_millis() as f64).max(1.0) };
    let height = 3.0 * PANEL + 20.0;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"weight, errors and latency over \
         time\">\n"
    );
    weight(&mut svg, part, &axis, last);
    let share = |sample: &Sample| {
        (sample.requests > 0).then(|| 100.0 * sample.errors as f64 / sample.requests as f64)
    };
    let most = most(part, share, 1.0);
    let panel = Panel { top: PANEL, most };
    panel.frame(&mut svg, "failed requests", &format!("{most:.1} %"));
    curves(&mut svg, part, &axis, &panel, share);
    let latency = |sample: &Sample| sample.p95.map(|micros| micros as f64);
    let most = self::most(part, latency, 1_000.0);
    let panel = Panel { top: 2.0 * PANEL, most };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "microseconds")]
    let top = milliseconds(Some(most as u64));
    panel.frame(&mut svg, "latency, 95th percentile", &top);
    curves(&mut svg, part, &axis, &panel, latency);
    let (foot, right) = (height - 4.0, WIDTH - 10.0);
    let _ = writeln!(
        svg,
        "<text x=\"{MARGIN}\" y=\"{foot:.0}\">{}</text><text x=\"{right:.0}\" y=\"{foot:.0}\" \
         text-anchor=\"end\">{}</text></svg>",
        report.hour(from),
        report.hour(last)
    );
    svg
}

/// The highest value, and not less than `least`.
fn most(part: &Part, value: impl Fn(&Sample) -> Option<f64>, least: f64) -> f64 {
    part.samples.iter().filter_map(value).fold(least, f64::max)
}

fn weight(svg: &mut String, part: &Part, axis: &Axis, until: Timestamp) {
    let panel = Panel { top: 0.0, most: 1.0 };
    panel.frame(svg, "weight of the canary", "100 %");
    let mut path = format!("M{MARGIN} {:.1}", panel.place(0.0));
    for (at, weight) in &part.weights {
        let _ = write!(path, "H{:.1}V{:.1}", axis.place(*at), panel.place(weight.share()));
    }
    let _ = writeln!(svg, "<path class=\"weight\" d=\"{path}H{:.1}\"/>", axis.place(until));
}

/// One curve a version; each sample stands in the middle of its time, with a dot, since it may be alone.
fn curves(
    svg: &mut String,
    part: &Part,
    axis: &Axis,
    panel: &Panel,
    value: impl Fn(&Sample) -> Option<f64>,
) {
    for (canary, class) in [(false, "stable"), (true, "canary")] {
        let (mut path, mut dots) = (String::new(), String::new());
        for sample in part.samples.iter().filter(|sample| sample.canary == canary) {
            let Some(value) = value(sample) else { continue };
            let half = u64::try_from(sample.span.as_millis() / 2).unwrap_or(0);
            let at = Timestamp::from_millis(sample.at.millis().saturating_sub(half));
            let (x, y) = (axis.place(at), panel.place(value));
            let step = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{step}{x:.1} {y:.1}");
            let _ =
                write!(dots, "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>");
        }
        if !path.is_empty() {
            let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"/>{dots}");
        }
    }
}
