//! What this machine and this process have to work with: cores, memory, disk.
//!
//! A leaf: it reads the kernel's files, decides nothing and knows nothing of training. Everything that reads below
//! `/proc` and `/sys` takes the file system's root as an argument, so that tests give it a tree of their own.

pub mod cgroup;
pub mod cores;
pub mod disk;
pub mod memory;

pub use cgroup::Cgroup;
pub use cores::Cores;
pub use memory::Memory;
