//! Numbers as a screen has room for them.

/// With a letter for thousands, millions and so on: at most five characters.
pub(super) fn short(value: f64) -> String {
    const LETTERS: [&str; 5] = ["", "k", "M", "G", "T"];
    scaled(value, 1000.0, &LETTERS)
}

/// Bytes, in the units of memory.
pub(super) fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = [" B", " KiB", " MiB", " GiB", " TiB"];
    scaled(value, 1024.0, &UNITS)
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let (mut value, mut unit) = (value.max(0.0), 0);
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let digits = usize::from(value < 9.95 && (unit > 0 || value.fract() > 0.0));
    format!("{value:.digits$}{}", units[unit])
}

/// A duration in the unit that fits.
pub(super) fn microseconds(value: f64) -> String {
    match value {
        ..1_000.0 => format!("{value:.0} µs"),
        ..10_000.0 => format!("{:.1} ms", value / 1e3),
        ..1_000_000.0 => format!("{:.0} ms", value / 1e3),
        ..100_000_000.0 => format!("{:.1} s", value / 1e6),
        _ => format!("{:.0} s", value / 1e6),
    }
}

/// The last values, as high as they are beside the highest of them.
pub(super) fn sparkline(
    values: impl ExactSizeIterator<Item = f64> + Clone,
    width: usize,
) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let skipped = values.len().saturating_sub(width);
    let shown = values.skip(skipped);
    let highest = shown.clone().fold(0.0, f64::max);
    let bar = |value: f64| {
        if highest <= 0.0 {
            return BARS[0];
        }
        let step = (value / highest * (BARS.len() - 1) as f64).round() as usize;
        BARS[step.min(BARS.len() - 1)]
    };
    shown.map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let told = [0.0, 0.4, 7.0, 12.3, 999.0, 1_000.0, 12_345.0, 1_234_567.0].map(short);
        assert_eq!(told, ["0", "0.4", "7", "12", "999", "1.0k", "12k", "1.2M"]);
        let told = [0.0, 2_000.0, 123e6].map(bytes);
        assert_eq!(told, ["0 B", "2.0 KiB", "117 MiB"]);
        let told = [15.0, 1_500.0, 123_456.0, 30_000_000.0, 600e6].map(microseconds);
        assert_eq!(told, ["15 µs", "1.5 ms", "123 ms", "30.0 s", "600 s"]);
    }

    #[test]
    fn a_sparkline_shows_the_last_values_by_their_height() {
        let values = [100.0, 0.0, 7.0, 3.5];

        assert_eq!(sparkline(values.iter().copied(), 3), "▁█▅");
        assert_eq!(sparkline([0.0, 0.0].iter().copied(), 3), "▁▁");
    }
}
