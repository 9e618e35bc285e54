//! Plots as inline SVG: bars along and columns up. Colours come from the style sheet. Each has a
//! title and a description in words, so that nothing is said by the picture alone.

use std::fmt::Write as _;
use std::time::Duration;

use hub_model::Timestamp;

use super::escape::text;
use crate::document::Count;

/// Most columns of a plot; more are put together.
const COLUMNS: usize = 120;

/// A bar: its name, its number, what is written behind it, and whether it is over a limit.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: u64,
    pub(crate) label: String,
    pub(crate) over: bool,
}

impl Bar {
    pub(crate) fn of(count: &Count) -> Self {
        Self {
            name: count.name.clone(),
            value: count.count,
            label: count.count.to_string(),
            over: false,
        }
    }
}

fn open(out: &mut String, id: &str, title: &str, words: &str, width: u64, height: u64) {
    let _ = write!(
        out,
        "<figure><svg role=\"img\" aria-labelledby=\"{id}-t {id}-d\" width=\"{width}\" \
         height=\"{height}\" viewBox=\"0 0 {width} {height}\"><title id=\"{id}-t\">{}</title>\
         <desc id=\"{id}-d\">{}</desc>",
        text(title),
        text(words),
    );
}

fn close(out: &mut String, caption: &str) {
    let _ = write!(out, "</svg><figcaption>{}</figcaption></figure>", text(caption));
}

/// The first characters of a name that is too long for its place.
fn short(name: &str, most: usize) -> String {
    if name.chars().count() <= most {
        return name.to_owned();
    }
    let mut cut: String = name.chars().take(most.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A part of a length, rounded down.
fn part(value: u64, of: u64, length: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(length) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(length).min(length)
}

/// Bars along, with a line at `limit` where there is one.
pub(crate) fn bars(id: &str, title: &str, bars: &[Bar], limit: Option<u64>) -> String {
    const NAME: u64 = 190;
    const LENGTH: u64 = 420;
    const ROW: u64 = 22;
    let mut out = String::new();
    if bars.is_empty() {
        return out;
    }
    let most = bars.iter().map(|bar| bar.value).chain(limit).max().unwrap_or(1);
    let rows = u64::try_from(bars.len()).unwrap_or(0);
    let words: Vec<_> = bars.iter().map(|bar| format!("{}: {}", bar.name, bar.label)).collect();
    open(&mut out, id, title, &words.join("; "), NAME + LENGTH + 130, rows * ROW + 8);
    let mut y = 4;
    for bar in bars {
        let length = part(bar.value, most, LENGTH).max(u64::from(bar.value > 0));
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{}\" x=\"{NAME}\" y=\"{}\" width=\"{length}\" height=\"14\"/>\
             <text class=\"soft\" x=\"{}\" y=\"{}\">{}</text>",
            NAME - 8,
            y + 13,
            text(&short(&bar.name, 28)),
            if bar.over { "over" } else { "bar" },
            y + 2,
            NAME + length + 6,
            y + 13,
            text(&bar.label),
        );
        y += ROW;
    }
    if let Some(limit) = limit {
        let x = NAME + part(limit, most, LENGTH);
        let _ = write!(
            out,
            "<line class=\"limit\" x1=\"{x}\" y1=\"0\" x2=\"{x}\" y2=\"{}\"/>",
            rows * ROW + 8
        );
    }
    close(&mut out, title);
    out
}

/// Columns up, in order, one for each count.
pub(crate) fn columns(id: &str, title: &str, counts: &[Count]) -> String {
    const LEFT: u64 = 56;
    const WIDTH: u64 = 660;
    const HEIGHT: u64 = 130;
    let mut out = String::new();
    let Some(last) = counts.last() else { return out };
    let joined = join(counts);
    let first = joined.first().unwrap_or(last);
    let most = joined.iter().map(|count| count.count).max().unwrap_or(1).max(1);
    let sum: u64 = counts.iter().map(|count| count.count).fold(0, u64::saturating_add);
    let highest = counts.iter().max_by_key(|count| count.count).unwrap_or(last);
    let words = format!(
        "{sum} in all from {} to {}; most on {}: {}",
        first.name, last.name, highest.name, highest.count
    );
    open(&mut out, id, title, &words, LEFT + WIDTH + 10, HEIGHT + 34);
    let many = u64::try_from(joined.len()).unwrap_or(1).max(1);
    let step = (WIDTH / many).clamp(2, 60);
    let _ = write!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\"/>\
         <text class=\"soft\" x=\"{2}\" y=\"16\" text-anchor=\"end\">{most}</text>\
         <text class=\"soft\" x=\"{2}\" y=\"{0}\" text-anchor=\"end\">0</text>",
        HEIGHT + 6,
        LEFT + WIDTH,
        LEFT - 6,
    );
    let mut x = LEFT;
    for count in &joined {
        let height = part(count.count, most, HEIGHT).max(u64::from(count.count > 0));
        let _ = write!(
            out,
            "<rect class=\"bar\" x=\"{x}\" y=\"{}\" width=\"{}\" height=\"{height}\"><title>{}: \
             {}</title></rect>",
            HEIGHT + 6 - height,
            step.saturating_sub(1).max(1),
            text(&count.name),
            count.count,
        );
        x += step;
    }
    let _ = write!(
        out,
        "<text class=\"soft\" x=\"{LEFT}\" y=\"{0}\">{1}</text>\
         <text class=\"soft\" x=\"{2}\" y=\"{0}\" text-anchor=\"end\">{3}</text>",
        HEIGHT + 24,
        text(&first.name),
        LEFT + WIDTH,
        text(&last.name),
    );
    close(&mut out, &format!("{title}: {words}"));
    out
}

/// Most days or months that are filled in: more gaps than a century has are not drawn.
const SPAN: usize = 40_000;

/// The same with the days between them, so that time is as long as it was.
pub(crate) fn every_day(counts: &[Count]) -> Vec<Count> {
    const DAY: Duration = Duration::from_secs(86_400);
    filled(counts, |day| {
        let start: Timestamp = format!("{day}T00:00:00Z").parse().ok()?;
        start.plus(DAY).to_string().get(..10).map(str::to_owned)
    })
}

/// The same with the months between them.
pub(crate) fn every_month(counts: &[Count]) -> Vec<Count> {
    filled(counts, |month| {
        let (year, month) = month.split_once('-')?;
        let (year, month): (u32, u32) = (year.parse().ok()?, month.parse().ok()?);
        let (year, month) = if month >= 12 { (year + 1, 1) } else { (year, month + 1) };
        Some(format!("{year:04}-{month:02}"))
    })
}

fn filled(counts: &[Count], next: impl Fn(&str) -> Option<String>) -> Vec<Count> {
    let mut all: Vec<Count> = Vec::new();
    for count in counts {
        let mut name = all.last().and_then(|last| next(&last.name));
        while let Some(between) = name.filter(|it| *it < count.name && all.len() < SPAN) {
            name = next(&between);
            all.push(Count { name: between, count: 0 });
        }
        all.push(count.clone());
    }
    all
}

/// Neighbours put together until there are few enough.
fn join(counts: &[Count]) -> Vec<Count> {
    let each = counts.len().div_ceil(COLUMNS).max(1);
    counts
        .chunks(each)
        .filter_map(|chunk| {
            let first = chunk.first()?;
            let count = chunk.iter().map(|one| one.count).fold(0, u64::saturating_add);
            Some(Count { name: first.name.clone(), count })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str, count: u64) -> Count {
        Count { name: name.to_owned(), count }
    }

    #[test]
    fn hostile_names_stay_text_in_plots() {
        let hostile = "</text><script>x</script>\u{202e}";
        let drawn = bars("p", hostile, &[Bar::of(&count(hostile, 3))], Some(2))
            + &columns("c", hostile, &[count(hostile, u64::MAX), count("b", 0)]);
        assert!(!drawn.contains("<script") && !drawn.contains('\u{202e}'), "{drawn}");
        assert!(drawn.contains("\\u{202e}") && drawn.contains("class=\"limit\""));
    }

    #[test]
    fn many_days_are_put_together_and_none_is_lost() {
        let days: Vec<_> = (0..1000).map(|day| count(&format!("{day:04}"), 1)).collect();
        let joined = join(&days);
        assert!(joined.len() <= COLUMNS);
        assert_eq!(joined.iter().map(|one| one.count).sum::<u64>(), 1000);
    }

    #[test]
    fn days_and_months_without_anything_are_there() {
        let names = |counts: Vec<Count>| -> Vec<String> {
            counts.into_iter().map(|count| format!("{} {}", count.name, count.count)).collect()
        };
        let days = every_day(&[count("2024-02-28", 3), count("2024-03-01", 1)]);
        assert_eq!(names(days), ["2024-02-28 3", "2024-02-29 0", "2024-03-01 1"]);
        let months = every_month(&[count("2025-11", 3), count("2026-02", 1)]);
        assert_eq!(names(months), ["2025-11 3", "2025-12 0", "2026-01 0", "2026-02 1"]);
        let odd = [count("x", 1), count("y", 2)];
        assert_eq!(every_day(&odd), odd);
    }

    #[test]
    fn nothing_to_draw_is_no_plot() {
        assert_eq!(bars("p", "t", &[], None), "");
        assert_eq!(columns("p", "t", &[]), "");
    }
}
