//! What a start looks like on a terminal.

use base::version::{REDIS_VERSION, VERSION};
use config::Values;

use crate::log;

/// Shows the logo where a person sees it, or says the same in a line.
pub(crate) fn show(values: &Values) {
    if !values.always_show_logo && !log::is_terminal() {
        log::notice(&format!("Running mode=standalone, port={}.", values.port));
        return;
    }
    let pid = std::process::id();
    let port = match values.port {
        0 => String::from_utf8_lossy(&values.unixsocket).into_owned(),
        port => port.to_string(),
    };
    log::raw(&format!(
        r"
      ___         _     _              _
     | _ \___  __| |___| |_ __ _ _ _ _| |_     Redstart {VERSION}, compatible with Redis {REDIS_VERSION}
     |   / -_)/ _` (_-<|  _/ _` | '_|_   _|    Running in standalone mode
     |_|_\___|\__,_/__/ \__\__,_|_|   |_|      Port: {port}
                                               PID: {pid}

"
    ));
}
