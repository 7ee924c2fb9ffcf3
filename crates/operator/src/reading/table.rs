//! Rows as a table for people, or as CSV for programs. Source: RFC 4180.

use std::fmt;

/// One column.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Column {
    heading: String,
    right: bool,
}

/// Rows of text under headings.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table; a heading that begins with `>` is of a column of numbers, which stand to the right.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        let columns = headings
            .iter()
            .map(|h| Column { heading: h.trim_start_matches('>').to_owned(), right: h.starts_with('>') });
        Self { columns: columns.collect(), rows: Vec::new() }
    }

    /// Adds a row; what is missing at its end is empty.
    pub fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// As CSV with a line of headings.
    #[must_use]
    pub fn csv(&self) -> String {
        let headings: Vec<&str> = self.columns.iter().map(|c| c.heading.as_str()).collect();
        let mut text = csv_row(&headings);
        for row in &self.rows {
            text.push_str(&csv_row(&row.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        text
    }
}

impl fmt::Display for Table {
    /// Aligned, two blanks between columns, no blanks at a line's end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = |index: usize, column: &Column| {
            let cells = self.rows.iter().filter_map(|r| r.get(index)).map(|c| c.chars().count());
            cells.chain([column.heading.chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = self.columns.iter().enumerate().map(|(i, c)| wide(i, c)).collect();
        let headings = self.columns.iter().map(|c| c.heading.clone()).collect();
        for (n, row) in std::iter::once(&headings).chain(&self.rows).enumerate() {
            let mut line = String::new();
            for ((column, width), cell) in self.columns.iter().zip(&widths).zip(row) {
                let gap = if line.is_empty() { "" } else { "  " };
                let cell = if column.right { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                line.push_str(gap);
                line.push_str(&cell);
            }
            let end = if n < self.rows.len() { "\n" } else { "" };
            write!(f, "{}{end}", line.trim_end())?;
        }
        Ok(())
    }
}

/// One line of CSV, with its line end.
#[must_use]
pub fn csv_row(cells: &[&str]) -> String {
    let quoted: Vec<String> = cells.iter().map(|cell| quote(cell)).collect();
    format!("{}\r\n", quoted.join(","))
}

fn quote(cell: &str) -> String {
    if cell.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_columns_and_programs_get_quotes() {
        let mut table = Table::new(&["account", ">amount"]);
        table.push(vec!["bank".into(), "5.00".into()]);
        table.push(vec!["a \"b\", c".into(), "-12.00".into()]);
        assert_eq!(table.to_string(), "account   amount\nbank        5.00\na \"b\", c  -12.00");
        assert_eq!(table.csv(), "account,amount\r\nbank,5.00\r\n\"a \"\"b\"\", c\",-12.00\r\n");
    }
}
