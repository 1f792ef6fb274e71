//! Rows of words in columns, as wide as they need to be.

/// Returns the rows under their headings, the columns two blanks apart.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(printable(cell).chars().count());
        }
    }
    let mut text = String::new();
    let headings = headings.map(str::to_owned);
    for row in std::iter::once(&headings).chain(rows) {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let cell = printable(cell);
            let blanks = width - cell.chars().count() + 2;
            line.push_str(&cell);
            line.extend(std::iter::repeat_n(' ', blanks));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Returns a text from elsewhere as a terminal may have it: nothing in it moves the cursor or changes colours.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "long one".to_owned()], ["äöü\u{1b}[2J".to_owned(), "x".to_owned()]];
        let text = table(["KEY", "OWNER"], &rows);
        assert_eq!(text, "KEY      OWNER\na        long one\näöü\u{fffd}[2J  x\n");
    }
}
