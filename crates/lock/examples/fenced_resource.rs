//! Why a lock alone does not protect a database, and how a token does.
//!
//! Anna gets the lock, and her process is paused for three leases, as a garbage collector, a swapping machine or a
//! moved virtual machine may do. Ben gets the lock meanwhile and writes. Anna wakes up, believes that she still holds
//! it, and writes too. The table refuses her, because it has seen Ben's newer token.
//!
//! In PostgreSQL the table of this example is one column more, and one condition in each statement:
//!
//! ```sql
//! ALTER TABLE accounts ADD COLUMN lock_token bigint NOT NULL DEFAULT 0;
//! UPDATE accounts SET balance = $1, lock_token = $2 WHERE id = $3 AND lock_token <= $2;   -- 0 rows: fenced
//! ```
//!
//! ```text
//! cargo run -p redstart-lock --example fenced_resource -- redis://127.0.0.1:6379
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use redstart_lock::LockClient;
use tokio::runtime::Builder;

const LEASE: Duration = Duration::from_millis(300);

/// A table whose rows remember the newest token that has written them.
#[derive(Debug, Default)]
struct Accounts {
    rows: Mutex<BTreeMap<&'static str, Row>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Row {
    balance: i64,
    lock_token: u64,
}

impl Accounts {
    /// Updates a row; returns how many rows were, which is 0 for a token older than the row's.
    fn update(&self, id: &'static str, balance: i64, token: u64) -> usize {
        let mut rows = self.rows.lock().expect("nobody panics while updating");
        let row = rows.entry(id).or_default();
        if row.lock_token > token {
            return 0;
        }
        *row = Row { balance, lock_token: token };
        1
    }

    fn balance(&self, id: &'static str) -> i64 {
        self.rows.lock().expect("nobody panics while updating").get(id).map_or(0, |row| row.balance)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".into());
    let accounts = Accounts::default();
    let updated = thread::scope(|scope| {
        let anna = scope.spawn(|| anna(&url, &accounts));
        thread::sleep(LEASE / 3);
        ben(&url, &accounts)?;
        anna.join().map_err(|_| "Anna panicked")?
    })?;
    println!("Anna's update changed {updated} rows; the balance is {}", accounts.balance("rent"));
    if updated != 0 || accounts.balance("rent") != 200 {
        return Err("a stale write went through".into());
    }
    Ok(())
}

/// Holds the lock, sleeps through its lease, and writes without looking.
fn anna(url: &str, accounts: &Accounts) -> Result<usize, String> {
    // One thread: while it sleeps nothing runs in this process, renewals included.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let client = LockClient::builder().url(url).build().map_err(|error| error.to_string())?;
        let held = client.lock("accounts").lease(LEASE).acquire().await.map_err(|error| error.to_string())?;
        println!("Anna holds the lock with token {} and is paused", held.token());
        thread::sleep(LEASE * 3);
        println!("Anna wakes up; asked, the library says that the lock is held: {}", held.is_held());
        Ok(accounts.update("rent", 100, held.token()))
    })
}

/// Waits for the lock and writes.
fn ben(url: &str, accounts: &Accounts) -> Result<(), String> {
    let client = LockClient::builder().url(url).build_blocking().map_err(|error| error.to_string())?;
    let lock = client.lock("accounts").interval(Duration::from_millis(50)).max_checks(100);
    lock.run(|held| {
        println!("Ben holds the lock with token {} and writes", held.token());
        match accounts.update("rent", 200, held.token()) {
            1 => Ok(()),
            _ => Err("fenced"),
        }
    })
    .map_err(|error| error.to_string())
}
