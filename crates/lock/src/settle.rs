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

use std::pin::pin;
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
    if let Some(link) = queued_on
        && settle_queued(&server, &request, &link).await
    {
        return server.keep(link);
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

/// Settles a request that waits in the queue; false when it is not certain that it is.
async fn settle_queued(server: &Server, request: &Request, link: &Link) -> bool {
    // What was queued has been answered before this is.
    let mut settled = pin!(server.settle_on(link, request));
    let begun = Instant::now();
    let (mut pause, mut left) = (Duration::ZERO, true);
    while begun.elapsed() < request.lease * 2 {
        tokio::select! {
            biased;
            settled = &mut settled => return settled.is_ok() && left,
            () = tokio::time::sleep(pause) => {}
        }
        // Again and again, because the request that waits may not have arrived yet. Each time to its end: when the lock
        // has become free meanwhile, this is granted it, and nobody else gives it back.
        left = server.leave_queue(request).await.is_ok();
        pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
    }
    false
}
