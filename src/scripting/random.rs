//! The generator behind `math.random`: the 48-bit linear congruential one that Redis ships
//! (drand48's constants), so that scripts see the sequence they see there.

/// State of the generator; starts where Redis starts it.
#[derive(Clone, Copy)]
pub struct Lrand48(u64);

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;

/// One more than the largest number drawn.
pub const LIMIT: i32 = i32::MAX;

impl Default for Lrand48 {
    fn default() -> Self {
        Lrand48(0x1234_ABCD_330E)
    }
}

impl Lrand48 {
    /// The generator that `math.randomseed(seed)` sets.
    pub fn seeded(seed: i32) -> Self {
        Lrand48(((seed as u32 as u64) << 16) | 0x330E)
    }

    /// The next number, 0 to 2^31 - 1.
    pub fn draw(&mut self) -> i32 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        (self.0 >> 17) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::Lrand48;

    #[test]
    fn first_numbers_are_the_genuine_servers() {
        let mut random = Lrand48::default();
        let first = random.draw() as f64 / i32::MAX as f64;
        let second = random.draw() as f64 / i32::MAX as f64;
        assert_eq!(format!("{first:.14}"), "0.39646477363839");
        assert_eq!(format!("{second:.14}"), "0.84048536971234");
    }
}
