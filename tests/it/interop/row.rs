//! One client's row, and the table that rows make.

use std::fmt::Write as _;

/// What was measured of one client. What does not apply is `None`.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub client: String,
    pub acked: u64,
    pub lost: u64,
    pub doubled: u64,
    /// Connections to agents of the other group, either way.
    pub strays: u64,
    /// Connections to the broker's own address.
    pub past: u64,
    /// Share of bytes that stayed within the client's zone, of 1.
    pub local: Option<f64>,
    /// Bytes of the busiest agent of the producer's zone by the mean.
    pub balance: Option<f64>,
    /// How often its producer can have been placed in the time that it took.
    pub placements: f64,
    /// Assignments and revocations while nothing but metadata changed.
    pub rebalances: Option<u64>,
    /// How many members consumed.
    pub members: u64,
    /// Transactions: what a reader of committed records got.
    pub transactions: Option<u64>,
    pub seconds: f64,
    /// What went wrong, in words.
    pub wrong: Vec<String>,
}

impl Row {
    /// Compares with what is promised; `wrong` is complete then. With few records, what members say to their
    /// coordinator, which may be in any zone, is a larger part.
    pub fn judge(&mut self, records: u64) {
        let mut is = |bad: bool, what: String| {
            if bad {
                self.wrong.push(what);
            }
        };
        is(self.acked != records, format!("{} of {records} acknowledged", self.acked));
        is(self.lost > 0, format!("{} lost", self.lost));
        is(self.doubled > 0, format!("{} doubled", self.doubled));
        is(self.strays > 0, format!("{} connections to the other group", self.strays));
        is(self.past > 0, format!("{} connections past the gateways", self.past));
        let least = if records < 20_000 { 0.95 } else { 0.99 };
        is(self.local.is_some_and(|share| share < least), format!("{:.4?} local", self.local));
        is(self.rebalances.is_some_and(|count| count > 0), format!("{:?} rebalances", self.rebalances));
        is(self.transactions.is_some_and(|count| count != 200), format!("{:?} committed", self.transactions));
    }
}

/// The rows as Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut text =
        "| client | acknowledged | lost | doubled | wrong group | past the gateways | zone-local bytes | \
                    busiest agent / mean | members | rebalances | committed in transactions | s | verdict |\n"
            .to_owned();
    text.push_str(&format!("|{}\n", " --- |".repeat(13)));
    for row in rows {
        let verdict = if row.wrong.is_empty() { "ok".to_owned() } else { row.wrong.join("; ") };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {:.0} | {} |",
            row.client,
            row.acked,
            row.lost,
            row.doubled,
            row.strays,
            row.past,
            row.local.map_or("-".to_owned(), |share| format!("{:.2} %", share * 100.0)),
            row.balance.map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
            row.members,
            row.rebalances.map_or("-".to_owned(), |count| count.to_string()),
            row.transactions.map_or("-".to_owned(), |count| count.to_string()),
            row.seconds,
            verdict.replace('|', "/"),
        );
    }
    text
}
