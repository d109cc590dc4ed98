//! What was measured: a table for people, JSON for programs, and a picture.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

/// All results, by measure and route, one value for each round.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    machine: String,
    measures: BTreeMap<&'static str, Measure>,
}

/// One measure of every route.
#[derive(Debug, Serialize)]
struct Measure {
    unit: &'static str,
    /// In the order in which they were measured.
    routes: Vec<(&'static str, Vec<f64>)>,
}

impl Results {
    /// Nothing yet, on this machine.
    pub(crate) fn new() -> Self {
        Self { machine: machine(), measures: BTreeMap::new() }
    }

    /// One value of one round.
    pub(crate) fn add(&mut self, measure: &'static str, unit: &'static str, route: &'static str, value: f64) {
        let measure = self.measures.entry(measure).or_insert(Measure { unit, routes: Vec::new() });
        match measure.routes.iter_mut().find(|(name, _)| *name == route) {
            Some((_, values)) => values.push(value),
            None => measure.routes.push((route, vec![value])),
        }
    }

    /// The medians, a line for each route, a block for each measure.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        for (name, measure) in &self.measures {
            write!(text, "\n{name} ({})\n", measure.unit).expect("a String takes everything");
            for (route, values) in &measure.routes {
                let (least, most) = (
                    values.iter().copied().fold(f64::MAX, f64::min),
                    values.iter().copied().fold(0.0, f64::max),
                );
                let line = format!("  {route:28} {:>10.3}   [{least:.3} … {most:.3}]\n", median(values));
                text.push_str(&line);
            }
        }
        text
    }

    /// Writes `results.json` and `results.svg`.
    pub(crate) fn write(&self, dir: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let json = serde_json::to_string_pretty(self).expect("results are plain data");
        std::fs::write(dir.join("results.json"), json)?;
        std::fs::write(dir.join("results.svg"), self.picture())
    }

    /// Bars of every measure, each scaled to its own longest.
    fn picture(&self) -> String {
        const WIDTH: usize = 760;
        const ROW: usize = 18;
        const LABEL: usize = 220;
        let mut bars = String::new();
        let mut y = ROW;
        for (name, measure) in &self.measures {
            y += ROW;
            writeln!(bars, "<text x='8' y='{y}' font-weight='bold'>{name} ({})</text>", measure.unit)
                .expect("text");
            let longest =
                measure.routes.iter().map(|(_, values)| median(values)).fold(f64::MIN_POSITIVE, f64::max);
            for (route, values) in &measure.routes {
                y += ROW;
                let value = median(values);
                let length = (value / longest * (WIDTH - LABEL - 90) as f64).max(1.0);
                let colour = if route.starts_with("postern") { "#2563a8" } else { "#9aa5b1" };
                writeln!(
                    bars,
                    "<text x='16' y='{y}'>{route}</text><rect x='{LABEL}' y='{}' width='{length:.1}' height='12' \
                     fill='{colour}'/><text x='{:.1}' y='{y}'>{value:.2}</text>",
                    y - 10,
                    LABEL as f64 + length + 6.0
                )
                .expect("text");
            }
        }
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{}' font-family='system-ui' \
             font-size='12'>\n<rect width='100%' height='100%' fill='white'/>\n{bars}</svg>\n",
            y + ROW
        )
    }
}

/// The middle one; of an even number, the lower.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that so large a part does not exceed.
pub(crate) fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = ((sorted.len().saturating_sub(1)) as f64 * part).floor() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("")
        .trim_matches([':', '\t', ' ']);
    let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}
