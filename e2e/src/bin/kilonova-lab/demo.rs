//! `make demo`: the whole way of an instance, on real parts, for a person to watch.

use kilonova_e2e::{Result, lab, repo};

use crate::{
    progress::Progress,
    setup,
    show::Show,
    up::{self, Came},
};

/// Shows it all. A lab that was not up before is ended, unless `keep`; with Ctrl-C and with an error, too.
pub(crate) async fn run(keep: bool) -> Result<()> {
    let progress = Progress::new();
    progress
        .time("set-up (all there already, when it is short)", async {
            setup::run(&progress)
        })
        .await?;
    let came = progress
        .time("control plane, node, controllers, agent", up::up(&progress))
        .await?;
    let guard = EndAtDrop {
        progress: &progress,
        armed: came == Came::Made && !keep,
    };
    let shown = async { Show::open(&progress).await?.run().await }.await;
    if shown.is_err() && guard.armed {
        progress.say(&format!(
            "the logs are kept in {}",
            lab::keep_logs(&repo::up_dir()).display()
        ));
    }
    if guard.armed {
        progress.time("end of the lab", async { drop(guard) }).await;
    } else {
        progress.say("the lab stays up; `make down` ends it");
    }
    shown?;
    progress.show("where the time went", &progress.table());
    Ok(())
}

/// Ends the lab, whatever ends the demo.
struct EndAtDrop<'a> {
    progress: &'a Progress,
    armed: bool,
}

impl Drop for EndAtDrop<'_> {
    fn drop(&mut self) {
        if self.armed
            && let Err(error) = up::down(self.progress)
        {
            eprintln!("error: the lab is not ended ({error}); run `make down`");
        }
    }
}
