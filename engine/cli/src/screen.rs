//! Everything that is printed. Colours only on a terminal and without `NO_COLOR`; JSON on request.

use std::{
    fmt::Display,
    io::{self, IsTerminal, Write},
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::Failure;

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();
pub(crate) const YELLOW: Style = AnsiColor::Yellow.on_default();
pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();

/// `text` in `style`, to be shown by [`Screen`], which takes the style away where it is not wanted.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Standard output and error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    pub(crate) json: bool,
    /// Whether the program goes on when nobody reads its output any more.
    pub(crate) goes_on: bool,
}

impl Screen {
    pub(crate) fn new(json: bool, goes_on: bool) -> Self {
        Screen { json, goes_on }
    }

    /// A line of the answer.
    pub(crate) fn line(self, text: impl Display) {
        self.text(&format!("{text}\n"));
    }

    /// A piece of the answer, shown at once.
    pub(crate) fn text(self, text: &str) {
        let mut out = anstream::stdout().lock();
        self.check(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
    }

    /// Bytes of the answer, as they are.
    pub(crate) fn bytes(self, bytes: &[u8]) {
        let mut out = io::stdout().lock();
        self.check(out.write_all(bytes).and_then(|()| out.flush()));
    }

    /// The answer as JSON: on one line for programs, laid out for people.
    pub(crate) fn value(self, value: &impl Serialize) {
        let text = if self.json {
            serde_json::to_string(value)
        } else {
            serde_json::to_string_pretty(value)
        };
        self.line(text.unwrap_or_else(|error| format!("\"the answer has no JSON form: {error}\"")));
    }

    /// A remark beside the answer.
    pub(crate) fn remark(self, text: impl Display) {
        // Nobody may be there to read it.
        let _ = writeln!(anstream::stderr().lock(), "{text}");
    }

    pub(crate) fn failure(self, failure: &Failure) {
        if self.json {
            let error = match &failure.error {
                Some(error) => serde_json::to_value(error).unwrap_or_default(),
                None => json!({ "message": failure.what }),
            };
            return self.value(&json!({ "error": error, "remedy": failure.remedy }));
        }
        self.remark(format!("{}: {}", styled(RED, "error"), failure.what));
        if let Some(remedy) = &failure.remedy {
            self.remark(format!("{}: {remedy}", styled(BOLD, "  try")));
        }
    }

    /// Columns as wide as their content; the last one ragged.
    pub(crate) fn table(self, heads: &[&str], rows: &[Vec<Cell>]) {
        let width = |column: usize| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.text.chars().count());
            cells.chain([heads[column].len()]).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let heads: Vec<Cell> = heads
            .iter()
            .map(|head| Cell::new(head).style(DIM))
            .collect();
        for row in std::iter::once(&heads).chain(rows) {
            self.line(laid_out(row, &widths));
        }
    }

    /// The reader, `head` for instance, has seen enough.
    fn check(self, written: io::Result<()>) {
        if written.is_err() && !self.goes_on {
            std::process::exit(0);
        }
    }

    pub(crate) fn is_terminal(self) -> bool {
        io::stdout().is_terminal()
    }
}

fn laid_out(row: &[Cell], widths: &[usize]) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
        line.push_str(&styled(cell.style, &cell.text));
        if index + 1 < row.len() {
            let gap = width.saturating_sub(cell.text.chars().count()) + 2;
            line.extend(std::iter::repeat_n(' ', gap));
        }
    }
    line
}

/// One cell of a table.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn new(text: impl Display) -> Self {
        Cell {
            text: text.to_string(),
            style: Style::new(),
        }
    }

    pub(crate) fn style(mut self, style: Style) -> Self {
        self.style = style;
        self
    }
}

/// `value` as text for people: a string without its quotes.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
