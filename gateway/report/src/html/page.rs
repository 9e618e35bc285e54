//! A page being written: sections, tables, lists. Cells are text until they say otherwise.

use std::fmt::Write as _;

use super::escape::text;

/// Most rows of a table; the JSON has them all.
pub(crate) const ROWS: usize = 500;

/// A piece of HTML that is one already.
pub(crate) struct Cell {
    html: String,
    number: bool,
}

/// Text.
pub(crate) fn cell(from: impl AsRef<str>) -> Cell {
    Cell { html: text(from.as_ref()), number: false }
}

/// A number.
pub(crate) fn number(from: impl ToString) -> Cell {
    // A number is no formula: its sign stays.
    Cell { html: from.to_string(), number: true }
}

/// Text with an id under it in small.
pub(crate) fn named(name: &str, id: &str) -> Cell {
    if name == id || id.is_empty() {
        return cell(name);
    }
    let html = format!("{}<br><span class=\"id\">{}</span>", text(name), text(id));
    Cell { html, number: false }
}

/// Text that stands out: `bad`, `warn`, `good`.
pub(crate) fn marked(class: &'static str, from: &str) -> Cell {
    Cell { html: format!("<span class=\"{class}\">{}</span>", text(from)), number: false }
}

/// Lines under each other.
pub(crate) fn lines<T: AsRef<str>>(all: &[T]) -> Cell {
    let html: Vec<_> = all.iter().map(|line| text(line.as_ref())).collect();
    Cell { html: html.join("<br>"), number: false }
}

/// The page.
pub(crate) struct Page(String);

impl Page {
    pub(crate) const fn new() -> Self {
        Self(String::new())
    }

    pub(crate) fn into_html(self) -> String {
        self.0
    }

    pub(crate) fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    pub(crate) fn section(&mut self, id: &str, title: &str) {
        let _ = write!(self.0, "<h2 id=\"{}\">{}</h2>", text(id), text(title));
    }

    pub(crate) fn part(&mut self, title: &str) {
        let _ = write!(self.0, "<h3>{}</h3>", text(title));
    }

    pub(crate) fn say(&mut self, words: &str) {
        let _ = write!(self.0, "<p>{}</p>", text(words));
    }

    pub(crate) fn warn(&mut self, words: &str) {
        let _ = write!(self.0, "<p class=\"note\">{}</p>", text(words));
    }

    pub(crate) fn list<T: AsRef<str>>(&mut self, items: &[T]) {
        self.0.push_str("<ul>");
        for item in items {
            let _ = write!(self.0, "<li>{}</li>", text(item.as_ref()));
        }
        self.0.push_str("</ul>");
    }

    /// Numbers that matter, side by side.
    pub(crate) fn figures(&mut self, figures: &[(&str, u64)]) {
        self.0.push_str("<ul class=\"figures\">");
        for (name, value) in figures {
            let _ = write!(self.0, "<li><b>{value}</b> {}</li>", text(name));
        }
        self.0.push_str("</ul>");
    }

    /// A table, and how many rows it does not show; `omitted` are beyond these rows.
    pub(crate) fn table(
        &mut self,
        caption: &str,
        heads: &[&str],
        rows: impl Iterator<Item = Vec<Cell>>,
        omitted: u64,
    ) {
        let (mut shown, mut more) = (String::new(), omitted);
        for (index, row) in rows.enumerate() {
            if index >= ROWS {
                more += 1;
                continue;
            }
            shown.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let class = if cell.number { " class=\"n\"" } else { "" };
                let _ = if column == 0 && !cell.number {
                    write!(shown, "<th scope=\"row\">{}</th>", cell.html)
                } else {
                    write!(shown, "<td{class}>{}</td>", cell.html)
                };
            }
            shown.push_str("</tr>\n");
        }
        if shown.is_empty() {
            let _ = write!(self.0, "<p>{}: none.</p>", text(caption));
            return;
        }
        let _ = write!(
            self.0,
            "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{0}\"><table>\
             <caption>{0}</caption><thead><tr>",
            text(caption)
        );
        for head in heads {
            let _ = write!(self.0, "<th scope=\"col\">{}</th>", text(head));
        }
        let _ = write!(self.0, "</tr></thead><tbody>\n{shown}</tbody></table></div>");
        if more > 0 {
            self.warn(&format!("{more} rows are not shown here; --format json has more of them"));
        }
    }
}
