//! The table of classes in docs/hub.md: every class is in it, no cell is empty, and its figures are those of the recorded runs.

#![cfg(feature = "hub")]

use std::collections::BTreeMap;

use alphabar::hub::SchedulerClass;

use crate::classes::{Deviations, SAME, compare};
use crate::parity::read;

/// A row of the table: the cells between its bars.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let table = page.split("## Classes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// A figure as the page has it: two digits, rounded up in the last.
fn is_said(cell: &str, measured: f64) -> bool {
    let said: f64 = cell.parse().unwrap_or_else(|_| panic!("{cell} is no figure"));
    measured <= said && said <= 2.0 * measured
}

#[test]
fn every_class_has_a_row_with_its_measured_figures() {
    let page = read("docs/hub.md");
    let mut measured: BTreeMap<String, Deviations> = BTreeMap::new();
    for group in ["table", "sigma", "multistep", "flow"] {
        measured.extend(compare(group));
    }
    let rows = rows(&page);
    for row in &rows {
        assert!(row.len() == 6 && row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        let class = row[0].trim_matches('`');
        let Deviations { double, single, default, .. } = measured[class];
        let differs = if default <= SAME { row[3] == "–" } else { is_said(row[3], default) };
        assert!(differs, "{class}: the default differs by {default:.1e}, and the page says {}", row[3]);
        assert!(
            is_said(row[4], double),
            "{class}: compat in f64 differs by {double:.1e}, and the page says {}",
            row[4]
        );
        assert!(
            is_said(row[5], single),
            "{class}: compat in f32 differs by {single:.1e}, and the page says {}",
            row[5]
        );
    }
    let named: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let missing: Vec<&str> =
        SchedulerClass::all().map(SchedulerClass::name).filter(|name| !named.contains(name)).collect();
    assert!(missing.is_empty() && rows.len() == SchedulerClass::all().len(), "not in docs/hub.md: {missing:?}");
    assert!(measured.values().map(|class| class.runs).sum::<usize>() >= 300);
}
