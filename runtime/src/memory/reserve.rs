//! Memory that is set aside for the moment in which there is no other.

use std::io;

use memmap2::MmapMut;

/// A block whose pages are this process's own from the start, and address space beyond it. Both are given back to the
/// system when they are needed.
#[derive(Debug)]
pub struct Reserve {
    held: Option<(MmapMut, Option<MmapMut>)>,
    len_bytes: usize,
    address_bytes: usize,
}

impl Reserve {
    /// Takes a block and touches every page of it, so that the system can not take it back; and so much address space
    /// besides, which costs nothing unless that is what is limited: the room for a file that is mapped later.
    ///
    /// # Errors
    /// If the system has no such block.
    pub fn new(len_bytes: usize, address_bytes: usize) -> io::Result<Reserve> {
        let mut reserve = Reserve { held: None, len_bytes, address_bytes };
        reserve.restore()?;
        Ok(reserve)
    }

    /// Gives everything back to the system. Allocates nothing and can not fail.
    pub fn release(&mut self) {
        self.held = None;
    }

    /// Takes everything again, if it was given back.
    ///
    /// # Errors
    /// If the system has no such block.
    pub fn restore(&mut self) -> io::Result<()> {
        if self.held.is_none() {
            let mut block = MmapMut::map_anon(self.len_bytes)?;
            let page_bytes = rustix::param::page_size();
            block.chunks_mut(page_bytes).for_each(|page| page.fill(1));
            let address = match self.address_bytes {
                0 => None,
                bytes => Some(MmapMut::map_anon(bytes)?),
            };
            self.held = Some((block, address));
        }
        Ok(())
    }

    /// Whether it is there.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
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
        let before = resident();
        let mut reserve = Reserve::new(LEN_BYTES, 8 * LEN_BYTES).unwrap();
        let with = resident();
        // Other tests of this process allocate meanwhile, but not as much.
        assert!((LEN_BYTES as u64 / 2..4 * LEN_BYTES as u64).contains(&with.saturating_sub(before)));
        reserve.release();
        assert!(!reserve.is_held());
        assert!(with.saturating_sub(resident()) > LEN_BYTES as u64 / 2);
        reserve.restore().unwrap();
        assert!(reserve.is_held());
    }
}
