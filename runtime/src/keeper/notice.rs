//! What a keeper did that a person should know of.

use std::fmt;
use std::path::PathBuf;

use crate::checkpoint::LoadError;
use crate::disk::DiskError;
use crate::journal::Failover;

/// Something out of the ordinary that was dealt with: in a line for people.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// The file system has no hard links. Said once per process.
    LinksAreCopies {
        /// The folder of checkpoints.
        dir: PathBuf,
        /// What the file system answered.
        because: DiskError,
    },
    /// There is no room for the reserve.
    NoReserve {
        /// The work directory.
        work_dir: PathBuf,
        /// The size that it would have.
        reserve_bytes: u64,
        /// The room that should be there, so that the reserve does not take that of a checkpoint.
        needed_bytes: u64,
        /// The room there is.
        free_bytes: u64,
    },
    /// The best checkpoint so far, from which nothing was taken up, is damaged. No other takes its name.
    BestDamaged {
        /// Its fault.
        error: LoadError,
        /// Where it is now; `None` where it could not be read, since it may be good.
        set_aside: Option<PathBuf>,
    },
    /// The journal left a segment whose write or sync failed.
    Failover(Failover),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::LinksAreCopies { dir, because } => {
                let (dir, because) = (dir.display(), &because.source);
                write!(
                    f,
                    "the file system of {dir} makes no hard links ({because}): best, last and final are verified copies, \
                     each with the size of a checkpoint"
                )
            }
            Notice::NoReserve { work_dir, reserve_bytes, needed_bytes, free_bytes } => write!(
                f,
                "{} has {free_bytes} bytes free and {needed_bytes} are wanted, so no reserve of {reserve_bytes} bytes is \
                 made: should the disk become full, the last steps may have to be computed again; free some space",
                work_dir.display()
            ),
            Notice::BestDamaged { error, set_aside: Some(aside) } => write!(
                f,
                "{error}; set aside as {}: no other checkpoint takes its place until a better one comes",
                aside.display()
            ),
            Notice::BestDamaged { error, set_aside: None } => {
                write!(f, "the best checkpoint can not be verified: {error}")
            }
            Notice::Failover(failover) => write!(f, "journal: {failover}"),
        }
    }
}
