//! Making sure that a request whose answer nobody heard leaves nothing behind.
//!
//! An attempt that is dropped while its request is under way, or given up after a request without an answer, may have
//! got the lock all the same. Nobody would renew it, so it would end with its lease; here it ends at once.
//!
//! ```text
//! own connection     ACQUIRE … WAIT ──(dropped)── ACQUIRE   answered behind the first one, and so settles it
//! shared connection                               ACQUIRE   the same owner again, not waiting: leaves the queue
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::{Request, Trouble};
use crate::server::{Link, Server};
use crate::store::Store;

/// The pauses between tries to settle.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Watches over the requests of one attempt; when dropped with one open, it is settled in the background.
#[derive(Debug)]
pub(crate) struct Unsettled {
    store: Arc<Store>,
    request: Arc<Request>,
    open: bool,
    /// The connection on which a request waits in the queue.
    pub(crate) queued_on: Option<Link>,
}

impl Unsettled {
    pub(crate) fn new(store: &Arc<Store>, request: &Arc<Request>) -> Unsettled {
        Unsettled { store: Arc::clone(store), request: Arc::clone(request), open: false, queued_on: None }
    }

    /// Says that a request is about to be sent.
    pub(crate) fn sent(&mut self) {
        self.open = true;
    }

    /// Says that the server has answered: what was sent before is settled too, as it is for the same owner.
    pub(crate) fn answered(&mut self) {
        self.open = false;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        for server in self.store.servers() {
            if let Some(runtime) = server.runtime() {
                let (server, request) = (Arc::clone(server), Arc::clone(&self.request));
                runtime.spawn(settle(server, request, self.queued_on.take()));
            }
        }
    }
}

async fn settle(server: Arc<Server>, request: Arc<Request>, queued_on: Option<Link>) {
    let shared = settle_by_shared(&server, &request, queued_on.is_some());
    match queued_on {
        None => shared.await,
        Some(mut link) => {
            tokio::select! {
                // What was queued has been answered before this is.
                settled = server.settle_on(&mut link, &request) => match settled {
                    Ok(()) => server.keep(link),
                    Err(_) => {
                        drop(link);
                        settle_by_shared(&server, &request, false).await;
                    }
                },
                () = shared => {}
            }
        }
    }
}

/// Settles on the shared connection: once, or again and again for a request that may not have arrived yet.
async fn settle_by_shared(server: &Server, request: &Request, again: bool) {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    // What is not settled by then has ended with its lease, but for a server that was restarted, which gives a new one.
    while begun.elapsed() < request.lease * 2 {
        match server.settle(request).await {
            Ok(()) if !again => return,
            Ok(()) | Err(Trouble::Unreachable(_)) => {}
            Err(_) => return,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
