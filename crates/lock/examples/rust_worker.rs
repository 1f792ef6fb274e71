//! A worker that must not run twice at the same time, however many of it are started.
//!
//! ```text
//! cargo run -p redstart-lock --example rust_worker -- redis://127.0.0.1:6379 3
//! ```

use std::error::Error;
use std::time::Duration;

use redstart_lock::{Context, LockClient, RunError};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "redis://127.0.0.1:6379".into());
    let rounds = arguments.next().map_or(Ok(1), |rounds| rounds.parse::<u32>())?;
    // The lock is renewed by a task of its own: two threads, so that work which blocks one does not stop it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(work(&url, rounds))
}

async fn work(url: &str, rounds: u32) -> Result<(), Box<dyn Error>> {
    let client = LockClient::builder().url(url).build()?;
    for round in 1..=rounds {
        let lock = client
            .lock("jobs:invoices")
            .lease(Duration::from_secs(10))
            .max_checks(30)
            .interval(Duration::from_millis(200))
            .task("send invoices");
        match lock.run(|held| send_invoices(held, round)).await {
            Ok(sent) => println!("round {round}: sent {sent} invoices"),
            // Someone else is at it: nothing to do this time.
            Err(RunError::Lock(error)) => println!("round {round}: did not run: {error}"),
            Err(RunError::TaskFailed(error)) => return Err(error.into()),
        }
    }
    Ok(())
}

async fn send_invoices(held: Context, round: u32) -> Result<u32, redstart_lock::Error> {
    println!("round {round}: working under token {}", held.token());
    for invoice in 1..=3 {
        // Before each step that must not happen twice. What the step writes should carry `held.token()` along.
        held.ensure_held()?;
        tokio::time::sleep(Duration::from_millis(10)).await;
        println!("round {round}: invoice {invoice}");
    }
    Ok(3)
}
