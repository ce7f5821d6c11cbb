//! Payments: what the daemon says that it has paid for what was accepted.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    Store, StoreError,
    schema::{add_to_total, amount},
};
use crate::{
    sqlite::{count, instant},
    units::{Glm, Span, Timestamp},
    yagna::{PaidFor, Payment},
};

/// Payments are listed from so long before the last one that is known.
const OVERLAP: Span = Span::hours(1);
/// The daemon's clock may be so far behind ours.
const DAEMON_LATE: Span = Span::days(1);

impl Store {
    /// The instant after which payments are to be listed, by the daemon's clock; `None` if all that was accepted is paid.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn unpaid_since(&self) -> Result<Option<Timestamp>, StoreError> {
        let read = || -> rusqlite::Result<Option<Timestamp>> {
            let first = "SELECT min(cluster.opened) AS at FROM agreement
                 JOIN cluster ON cluster.id = agreement.cluster
                 WHERE agreement.agreement IS NOT NULL AND agreement.accepted <> agreement.paid";
            let Some(first) = instant_of(&self.connection, first)? else { return Ok(None) };
            let last = instant_of(&self.connection, "SELECT max(at) AS at FROM payment")?;
            Ok(Some(last.map_or_else(|| first.minus(DAEMON_LATE), |last| last.minus(OVERLAP))))
        };
        read().map_err(|source| self.failed(source))
    }

    /// Takes in payments, all or none. Shares that were taken in before, or are for nothing of ours, are left out.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn pay(&mut self, payments: &[Payment]) -> Result<(), StoreError> {
        self.change(|transaction| {
            for payment in payments {
                for (paid_for, amount) in &payment.shares {
                    pay(transaction, payment, paid_for, *amount)?;
                }
            }
            Ok(())
        })
    }
}

fn pay(
    connection: &Connection,
    payment: &Payment,
    paid_for: &PaidFor,
    share: Glm,
) -> rusqlite::Result<()> {
    let (column, id) = match paid_for {
        PaidFor::Agreement(agreement) => ("agreement", agreement.as_str()),
        PaidFor::Activity(activity) => ("activity", activity.as_str()),
    };
    let finding = format!(
        "SELECT agreement.cluster, agreement.number, agreement.paid, cluster.name
         FROM agreement JOIN cluster ON cluster.id = agreement.cluster WHERE agreement.{column} = ?1"
    );
    let found = connection.query_row(&finding, [id], |row| {
        Ok((row.get(0)?, row.get(1)?, amount(row, "paid")?, row.get(3)?))
    });
    let found: Option<(i64, u32, Glm, String)> = found.optional()?;
    let Some((cluster, number, before, name)) = found else { return Ok(()) };
    let paying = "INSERT OR IGNORE INTO payment
         (cluster, agreement, at, payment, share, amount, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let (at, text, hash) = (instant(payment.at), share.to_string(), &payment.transaction);
    if connection.execute(paying, params![cluster, number, at, payment.id, id, text, hash])? == 0 {
        return Ok(());
    }
    let adding = "UPDATE agreement SET paid = ?3 WHERE cluster = ?1 AND number = ?2";
    connection.execute(adding, params![cluster, number, before.plus(share).to_string()])?;
    add_to_total(connection, &name, "paid", share)
}

fn instant_of(connection: &Connection, query: &str) -> rusqlite::Result<Option<Timestamp>> {
    connection.query_row(query, [], |row| match row.get::<_, Option<i64>>("at")? {
        Some(_) => Ok(Some(Timestamp::from_unix_micros(count(row, "at")?))),
        None => Ok(None),
    })
}
