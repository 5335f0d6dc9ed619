//! The Mersenne Twister MT19937 (Matsumoto & Nishimura 1998), on which torch's CPU generator and numpy's `RandomState` are built.
//!
//! ```text
//! state[0] = seed,   state[j] = 1812433253·(state[j−1] xor state[j−1] >> 30) + j                                 (seeding)
//! state[j] ← state[j + 397] xor twist(upper bit of state[j], lower 31 bits of state[j + 1])                      (j mod 624)
//! ```
//!
//! It is written out here because no crate fits: torch's states must be read and written, words are needed in blocks, and
//! `rand_mt` needs a newer Rust than this crate.

#![allow(clippy::indexing_slicing, reason = "every index is below the length of a fixed array")]

/// Words of a block.
pub(crate) const LEN: usize = 624;

/// The distance to the word that is mixed in.
const SHIFT: usize = 397;

/// The state and the place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mt19937 {
    pub(crate) state: [u32; LEN],
    /// The number of words of this block that were handed out. It is 0 only after seeding: the state is then the seed's, and
    /// the first block is still to be made.
    pub(crate) next: usize,
}

impl Mt19937 {
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [0; LEN];
        state[0] = seed;
        for j in 1..LEN {
            let last = state[j - 1];
            state[j] = 1_812_433_253_u32.wrapping_mul(last ^ last >> 30).wrapping_add(j as u32);
        }
        Self { state, next: 0 }
    }

    pub(crate) fn word(&mut self) -> u32 {
        let mut word = [0];
        self.fill(&mut word);
        word[0]
    }

    /// The next words.
    #[inline(always)]
    pub(crate) fn fill(&mut self, mut out: &mut [u32]) {
        while !out.is_empty() {
            self.turn();
            let taken = out.len().min(LEN - self.next);
            let (head, rest) = out.split_at_mut(taken);
            head.iter_mut().zip(&self.state[self.next..]).for_each(|(out, word)| *out = temper(*word));
            self.next += taken;
            out = rest;
        }
    }

    /// Skips `words` words.
    pub(crate) fn skip(&mut self, mut words: u64) {
        while words > 0 {
            self.turn();
            let taken = words.min((LEN - self.next) as u64);
            self.next += taken as usize;
            words -= taken;
        }
    }

    /// Makes the next block if this one is used up.
    #[inline(always)]
    fn turn(&mut self) {
        if self.next == 0 || self.next == LEN {
            self.twist();
            self.next = 0;
        }
    }

    /// Makes the next block in three parts. No part reads a word that it has already written, so that the compiler can
    /// vectorise the loops.
    #[inline(always)]
    fn twist(&mut self) {
        const FIRST: usize = LEN - SHIFT;
        let (low, high) = self.state.split_at_mut(SHIFT);
        for j in 0..FIRST {
            low[j] = mixed(low[j], low[j + 1], high[j]);
        }
        let (done, rest) = self.state.split_at_mut(FIRST);
        for j in 0..FIRST {
            rest[j] = mixed(rest[j], rest[j + 1], done[j]);
        }
        let (done, rest) = self.state.split_at_mut(2 * FIRST);
        for j in 0..LEN - 2 * FIRST - 1 {
            rest[j] = mixed(rest[j], rest[j + 1], done[FIRST + j]);
        }
        self.state[LEN - 1] = mixed(self.state[LEN - 1], self.state[0], self.state[SHIFT - 1]);
    }
}

#[inline(always)]
fn mixed(this: u32, next: u32, far: u32) -> u32 {
    let joined = this & 0x8000_0000 | next & 0x7fff_ffff;
    far ^ joined >> 1 ^ (joined & 1).wrapping_neg() & 0x9908_b0df
}

#[inline(always)]
fn temper(mut word: u32) -> u32 {
    word ^= word >> 11;
    word ^= word << 7 & 0x9d2c_5680;
    word ^= word << 15 & 0xefc6_0000;
    word ^ word >> 18
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The C++ standard ([rand.predef]): the 10000th word of seed 5489.
    #[test]
    fn the_ten_thousandth_word_is_that_of_the_standard() {
        let mut generator = Mt19937::new(5489);
        generator.skip(9999);
        assert_eq!(generator.word(), 4_123_659_995);
    }

    #[test]
    fn words_do_not_depend_on_how_they_are_asked_for() {
        let mut whole = vec![0; 5000];
        Mt19937::new(7).fill(&mut whole);
        let mut generator = Mt19937::new(7);
        for (start, len) in [(0, 1), (1, 623), (624, 624), (1248, 100), (1348, 3000), (4348, 652)] {
            let mut part = vec![0; len];
            let mut skipped = Mt19937::new(7);
            skipped.skip(start as u64);
            generator.fill(&mut part);
            assert_eq!(part, whole[start..start + len]);
            assert_eq!(skipped.word(), whole[start]);
        }
    }
}
