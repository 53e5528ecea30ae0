//! Samples as medians with their spread, and the Markdown table made of them.

/// The target of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Shown for comparison only.
    Shown,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    pub name: String,
    pub target: Target,
    /// "" for a ratio, " ms" for a time.
    pub unit: &'static str,
    /// One value per round.
    pub samples: Vec<f64>,
    /// The inputs of the ratio, as text.
    pub seen: String,
}

impl Figure {
    /// The ratio of two series, round by round; `seen` shows the medians of both.
    pub fn ratio(name: &str, target: Target, above: &[f64], below: &[f64], seen: String) -> Self {
        Self {
            name: name.to_owned(),
            target,
            unit: "",
            samples: above
                .iter()
                .zip(below)
                .map(|(above, below)| above / below)
                .collect(),
            seen,
        }
    }

    /// Whether the median reaches the target; none if there is no target.
    pub fn is_met(&self) -> Option<bool> {
        let median = median(&self.samples);
        match self.target {
            Target::AtLeast(least) => Some(median >= least),
            Target::AtMost(most) => Some(median <= most),
            Target::Shown => None,
        }
    }

    fn line(&self) -> String {
        let target = match self.target {
            Target::AtLeast(least) => format!("≥ {least:.2}{}", self.unit),
            Target::AtMost(most) => format!("≤ {most:.2}{}", self.unit),
            Target::Shown => "shown".to_owned(),
        };
        let met = match self.is_met() {
            Some(true) => "yes",
            Some(false) => "**no**",
            None => "",
        };
        let (low, high) = spread(&self.samples);
        format!(
            "| {} | {target} | {:.2}{} | {low:.2}–{high:.2} | {met} | {} |",
            self.name,
            median(&self.samples),
            self.unit,
            self.seen
        )
    }
}

/// The table, ready for docs/benchmarks.md.
pub fn table(figures: &[Figure]) -> String {
    let mut lines = vec![
        "| figure | target | median | lowest–highest round | met | medians behind it |".to_owned(),
        "|---|---|---|---|---|---|".to_owned(),
    ];
    lines.extend(figures.iter().map(Figure::line));
    lines.join("\n")
}

/// The middle value, or the mean of the two middle ones of an even number; 0 without samples.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

fn spread(samples: &[f64]) -> (f64, f64) {
    let low = samples.iter().copied().fold(f64::INFINITY, f64::min);
    let high = samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_line_shows_ratio_spread_and_whether_it_is_met() {
        let figure = Figure::ratio(
            "create / bare",
            Target::AtLeast(0.75),
            &[70.0, 80.0, 60.0],
            &[100.0, 100.0, 100.0],
            "70 and 100 a second".to_owned(),
        );
        assert_eq!(
            table(&[figure]).lines().last(),
            Some("| create / bare | ≥ 0.75 | 0.70 | 0.60–0.80 | **no** | 70 and 100 a second |")
        );
    }
}
