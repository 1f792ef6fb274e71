//! Making sure that a request whose answer nobody heard leaves nothing behind.
//!
//! An attempt that is dropped while its request is under way, or given up after a request without an answer, may have
//! got the lock all the same. Nobody would renew it, so it would end with its lease; here it ends at once.
//!
//! ```text
//! its own connection   ACQUIRE … WAIT ──(dropped)── ACQUIRE          answered behind the first, and so settles it
//! another connection                                ACQUIRE … WAIT 1  the same owner takes over its place in the
//!                                                                     queue, and leaves it
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
    if let Some(link) = queued_on {
        let settled = tokio::select! {
            // What was queued has been answered before this is.
            settled = server.settle_on(&link, &request) => settled.is_ok(),
            () = leave_queue(&server, &request) => false,
        };
        if settled {
            return server.keep(link);
        }
    }
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    // What is not settled by then has ended with its lease, but for a server that was restarted, which gives a new one.
    while begun.elapsed() < request.lease * 2 {
        if !matches!(server.settle(&request).await, Err(Trouble::Unreachable(_))) {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Has the owner leave the queue, again and again because the request that waits may not have arrived yet.
async fn leave_queue(server: &Server, request: &Request) {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    while begun.elapsed() < request.lease * 2 {
        // Trouble here is tried again; what counts is the answer on the other connection.
        let _ = server.leave_queue(request).await;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
