//! Tables in plain text: columns as wide as their widest cell, two spaces between them.

use std::borrow::Cow;

/// On which side of its column a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

/// The columns of a table.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(String, Align, usize)>,
}

impl Table {
    /// Columns with these titles, as wide as those.
    pub fn new<Title: Into<String>>(columns: impl IntoIterator<Item = (Title, Align)>) -> Self {
        let columns = columns.into_iter().map(|(title, align)| (title.into(), align));
        let columns = columns.map(|(title, align)| {
            let width = width(&title);
            (title, align, width)
        });
        Self { columns: columns.collect() }
    }

    /// Columns of texts with these titles.
    #[must_use]
    pub fn of_texts(titles: Vec<String>) -> Self {
        Self::new(titles.into_iter().map(|title| (title, Align::Left)))
    }

    /// The titles of the columns.
    pub fn titles(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(title, ..)| title.as_str())
    }

    /// Makes room for a row.
    pub fn widen(&mut self, row: &[String]) {
        for ((_, _, widest), cell) in self.columns.iter_mut().zip(row) {
            *widest = (*widest).max(width(&printable(cell)));
        }
    }

    /// The line with the titles.
    #[must_use]
    pub fn header(&self) -> String {
        let titles: Vec<String> = self.columns.iter().map(|(title, ..)| title.clone()).collect();
        self.line(&titles)
    }

    /// The line of a row.
    #[must_use]
    pub fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for ((_, align, widest), cell) in self.columns.iter().zip(row) {
            let cell = printable(cell);
            let space = " ".repeat(widest.saturating_sub(width(&cell)));
            match align {
                Align::Left => line += &format!("{cell}{space}  "),
                Align::Right => line += &format!("{space}{cell}  "),
            }
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }

    /// The titles and all rows.
    #[must_use]
    pub fn render(mut self, rows: &[Vec<String>]) -> String {
        rows.iter().for_each(|row| self.widen(row));
        rows.iter().fold(self.header(), |lines, row| lines + &self.line(row))
    }
}

/// A text without characters that steer a terminal, which a file of unknown origin may hold: they are shown as escapes.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let shown = |letter: char| {
        if letter.is_control() { letter.escape_default().to_string() } else { letter.to_string() }
    };
    Cow::Owned(text.chars().map(shown).collect())
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A size as people read it: `512 B`, `1.5 kB`, `2.0 GB`, in powers of 1000.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1000.0;
    let mut unit = UNITS[0];
    for larger in UNITS.into_iter().skip(1) {
        // What would be shown as 1000.0 has the larger unit.
        if scaled < 999.95 {
            break;
        }
        scaled /= 1000.0;
        unit = larger;
    }
    format!("{scaled:.1} {unit}")
}

/// A number with six digits that count: `0.0251708`, `3.30524`, `1.23457e-8`; `-` for none.
#[must_use]
pub fn number(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    let magnitude = value.abs();
    if value == 0.0 || !(1e-3..1e6).contains(&magnitude) {
        return if value == 0.0 { "0".to_owned() } else { format!("{value:.5e}") };
    }
    // Between -3 and 5, so that there are as many digits behind the point as fill up to six.
    let decimals = 5 - magnitude.log10().floor() as i64;
    format!("{value:.*}", usize::try_from(decimals).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{Align, Table, number, size};

    #[test]
    fn numbers_have_six_digits_whatever_their_magnitude() {
        let said =
            [0.0, 0.025_170_84, -3.305_243, 123_456.7, 1_234_567.8, 1.234_567e-8].map(Some).map(number);
        assert_eq!(said, ["0", "0.0251708", "-3.30524", "123457", "1.23457e6", "1.23457e-8"]);
        assert_eq!(number(None), "-");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let table = Table::new([("name", Align::Left), ("n", Align::Right), ("", Align::Left)]);
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let text = table.render(&[row(["é", "100", ""]), row(["longer", "1", "best"])]);
        assert_eq!(text, "name      n\né       100\nlonger    1  best\n");
    }

    #[test]
    fn a_cell_can_not_steer_a_terminal() {
        let table = Table::new([("name", Align::Left), ("n", Align::Left)]);
        let text = table.render(&[vec!["a\u{1b}[2J\n".to_owned(), "1".to_owned()]]);
        assert_eq!(text, "name          n\na\\u{1b}[2J\\n  1\n");
    }

    #[test]
    fn sizes_read_as_people_say_them() {
        let said = [0, 999, 1000, 1_536, 999_949, 999_950, 2_000_000_000, u64::MAX].map(size);
        assert_eq!(said, ["0 B", "999 B", "1.0 kB", "1.5 kB", "999.9 kB", "1.0 MB", "2.0 GB", "18446.7 PB"]);
    }
}
