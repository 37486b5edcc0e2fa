//! Memory that is set aside for the moment in which there is no other.

use std::io;

use memmap2::MmapMut;

/// A block whose pages are this process's own from the start, given back to the system when they are needed.
#[derive(Debug)]
pub struct Reserve {
    block: Option<MmapMut>,
    len_bytes: usize,
}

impl Reserve {
    /// Takes a block and touches every page of it, so that the system can not take it back.
    ///
    /// # Errors
    /// If the system has no such block.
    pub fn new(len_bytes: usize) -> io::Result<Reserve> {
        let mut reserve = Reserve { block: None, len_bytes };
        reserve.restore()?;
        Ok(reserve)
    }

    /// Gives the block back to the system. Allocates nothing and can not fail.
    pub fn release(&mut self) {
        self.block = None;
    }

    /// Takes the block again, if it was given back.
    ///
    /// # Errors
    /// If the system has no such block.
    pub fn restore(&mut self) -> io::Result<()> {
        if self.block.is_none() {
            let mut block = MmapMut::map_anon(self.len_bytes)?;
            let page_bytes = rustix::param::page_size();
            block.chunks_mut(page_bytes).for_each(|page| page.fill(1));
            self.block = Some(block);
        }
        Ok(())
    }

    /// Whether the block is there.
    pub fn is_held(&self) -> bool {
        self.block.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::Reserve;
    use crate::memory::resident_bytes;
    use std::path::Path;

    #[test]
    fn the_pages_of_a_reserve_are_resident_until_it_is_released() {
        const LEN_BYTES: usize = 256 << 20;
        let resident = || resident_bytes(Path::new("/")).unwrap();
        let mut reserve = Reserve::new(LEN_BYTES).unwrap();
        let with = resident();
        reserve.release();
        assert!(!reserve.is_held());
        // Other tests of this process allocate meanwhile, but not as much.
        assert!(with.saturating_sub(resident()) > LEN_BYTES as u64 / 2);
        reserve.restore().unwrap();
        assert!(reserve.is_held());
    }
}
