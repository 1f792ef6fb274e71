//! `redstart lock notifier`: tells people of what failed, for as long as it runs.

use nix::sys::signal::{SigSet, Signal};
use serde_json::json;

use super::arguments::{Place, Records};
use super::desk::Desk;
use super::exit;
use super::view::line;
use super::wire::Failure;

/// Tells what is due: once, or until it is ended by a signal. Returns what is to be printed.
pub(crate) fn run(place: &Place, records: &Records, once: bool) -> Result<String, Failure> {
    let desk = Desk::new(&place.server, records);
    if !desk.has_config() {
        let reason =
            "no configuration says who is told: give --config FILE, or write /etc/redstart/notify.toml";
        return Err(Failure { code: exit::CONFIG, reason: reason.to_owned() });
    }
    let notifier = desk.notifier()?;
    if once {
        let pass = notifier.deliver_due();
        if place.json {
            return Ok(line(&json!({
                "delivered": pass.delivered,
                "failed": pass.failed,
                "waiting": pass.waiting,
                "unrouted": pass.unrouted,
                "server": pass.server,
            })));
        }
        let server =
            if pass.server { "" } else { "; the server cannot be reached, so this was what is on disk" };
        return Ok(format!(
            "{} told, {} not reached, {} to be told later, {} that nobody is responsible for{server}\n",
            pass.delivered, pass.failed, pass.waiting, pass.unrouted
        ));
    }
    // Blocked before a thread is started, they come to nobody but the wait below.
    let ends: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    let os = |error: nix::Error| Failure { code: exit::OS, reason: error.to_string() };
    ends.thread_block().map_err(os)?;
    notifier.start();
    complain!("redstart lock notifier: telling people of failures");
    ends.wait().map_err(os)?;
    Ok(String::new())
}
