//! Figures of Crema beside those of the Linux guest.

use super::{
    measure::{Spread, spread},
    table::Table,
};

/// Rows of a comparison, with the spread of each side and what one is to the other.
#[derive(Default)]
pub struct Comparison {
    rows: Vec<Row>,
}

struct Row {
    name: String,
    unit: String,
    crema: Option<Spread>,
    linux: Option<Spread>,
}

impl Comparison {
    /// Adds a row, unless neither side has a figure for it.
    pub fn row(
        &mut self,
        name: &str,
        unit: &str,
        crema: impl IntoIterator<Item = f64>,
        linux: impl IntoIterator<Item = f64>,
    ) {
        let row = Row { name: name.into(), unit: unit.into(), crema: spread(crema), linux: spread(linux) };
        if row.crema.is_some() || row.linux.is_some() {
            self.rows.push(row);
        }
    }

    pub fn render(&self) -> String {
        let mut table = Table::new(&[
            "median",
            "unit",
            "Crema",
            "quartiles",
            "Linux guest",
            "quartiles",
            "Linux / Crema",
        ]);
        for row in &self.rows {
            let (crema, crema_quartiles) = cells(row.crema);
            let (linux, linux_quartiles) = cells(row.linux);
            let ratio = match (row.crema, row.linux) {
                (Some(crema), Some(linux)) if crema.median > 0.0 => {
                    format!("{:.2}", linux.median / crema.median)
                }
                _ => String::new(),
            };
            table.row([
                row.name.clone(),
                row.unit.clone(),
                crema,
                crema_quartiles,
                linux,
                linux_quartiles,
                ratio,
            ]);
        }
        table.render()
    }
}

fn cells(spread: Option<Spread>) -> (String, String) {
    match spread {
        Some(Spread { median, lower, upper }) => (format!("{median:.1}"), format!("{lower:.1} - {upper:.1}")),
        None => Default::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_may_be_missing() {
        let mut comparison = Comparison::default();
        comparison.row("a", "ns", [2.0], [5.0]);
        comparison.row("b", "ns", [], [5.0]);
        comparison.row("c", "ns", [], []);
        let text = comparison.render();
        let rows: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(rows.len(), 2);
        assert!(rows[0].contains("2.0 - 2.0") && rows[0].ends_with("2.50 |"), "{text}");
        assert!(rows[1].contains("5.0 - 5.0"), "{text}");
    }
}
