//! Lengths of time drawn from Weibull distributions, with whole numbers alone, so that every machine draws
//! the same.
//!
//! A length with median m and shape k is m · (log2 (1 / u))^(1 / k) for u drawn evenly from 0 to 1: half of all are
//! longer than m, and with shape 1 they are exponential. Logarithms have 32 binary digits after the point.

use comm_proto::time::Span;
use rand_chacha::ChaCha12Rng;
use rand_core::RngCore;

/// No length is greater.
pub(crate) const LONGEST: Span = Span::from_days(3_650);
/// Binary digits after the point of logarithms, and of factors.
const DIGITS: u32 = 32;
const FACTOR_DIGITS: u32 = 62;
/// 2^(1/2), 2^(1/4), 2^(1/8) and so on.
const ROOTS: [u128; DIGITS as usize] = {
    let mut roots = [0; DIGITS as usize];
    let mut root = 2_u128 << FACTOR_DIGITS;
    let mut i = 0;
    while i < roots.len() {
        root = (root << FACTOR_DIGITS).isqrt();
        roots[i] = root;
        i += 1;
    }
    roots
};

/// A length with this median and shape, the shape in thousandths. At least a millisecond.
pub(crate) fn draw(rng: &mut ChaCha12Rng, median: Span, shape: u64) -> Span {
    let even = rng.next_u64();
    let one = 64 << DIGITS;
    let halvings = one - even.checked_add(1).map_or(one, log2);
    if halvings == 0 {
        return Span::from_millis(1);
    }
    let exponent = log2(halvings) as i64 - (i64::from(DIGITS) << DIGITS);
    let exponent = i128::from(exponent) * 1_000 / i128::from(shape.max(1));
    Span::from_millis(times_power(median.as_millis(), exponent).clamp(1, LONGEST.as_millis()))
}

/// The binary logarithm of a number that is not 0.
fn log2(number: u64) -> u64 {
    let zeros = number.leading_zeros();
    // Between 1 and 2, with 63 digits after the point.
    let mut rest = u128::from(number) << zeros;
    let mut log = u64::from(63 - zeros) << DIGITS;
    for digit in (0..DIGITS).rev() {
        rest = (rest * rest) >> 63;
        if rest >= 1 << 64 {
            rest >>= 1;
            log |= 1 << digit;
        }
    }
    log
}

/// A number times 2 to the power of `exponent`; what is too large is the largest.
fn times_power(number: u64, exponent: i128) -> u64 {
    let whole = exponent >> DIGITS;
    let mut factor = 1_u128 << FACTOR_DIGITS;
    for (i, root) in ROOTS.iter().enumerate() {
        if exponent >> (DIGITS as usize - 1 - i) & 1 == 1 {
            factor = (factor * root) >> FACTOR_DIGITS;
        }
    }
    let product = u128::from(number) * factor;
    let shift = i128::from(FACTOR_DIGITS) - whole;
    if shift < 0 {
        return if number == 0 { 0 } else { u64::MAX };
    }
    let shift = u32::try_from(shift).unwrap_or(u32::MAX);
    u64::try_from(product.checked_shr(shift).unwrap_or(0)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    /// How many of 10,000 are longer than so many medians, in percent.
    fn longer(shape: u64, medians: u64) -> u64 {
        let median = Span::HOUR;
        let mut rng = ChaCha12Rng::seed_from_u64(1);
        let drawn = (0..10_000).map(|_| draw(&mut rng, median, shape));
        drawn.filter(|span| *span > median.times(medians)).count() as u64 / 100
    }

    #[test]
    fn logarithms_and_powers_are_what_they_are() {
        assert_eq!(log2(1), 0);
        assert_eq!(log2(1 << 40), 40 << DIGITS);
        assert!(log2(10).abs_diff((std::f64::consts::LOG2_10 * 4_294_967_296.0) as u64) <= 1);
        assert_eq!(times_power(1_000, 0), 1_000);
        assert_eq!(times_power(1_000, 3 << DIGITS), 8_000);
        assert_eq!(times_power(1_000, -(1 << DIGITS)), 500);
        assert_eq!(times_power(1_000_000, 1 << (DIGITS - 1)), 1_414_213);
        assert_eq!(times_power(1_000_000, -(1 << (DIGITS - 1))), 707_106);
        assert_eq!(times_power(u64::MAX, 1 << DIGITS), u64::MAX);
        assert_eq!(times_power(5, 200 << DIGITS), u64::MAX);
        assert_eq!(times_power(5, -(200 << DIGITS)), 0);
    }

    /// 2^-(x^k) of all are longer than x medians.
    #[test]
    fn as_many_are_longer_as_the_distribution_says() {
        assert!((49..=51).contains(&longer(1_000, 1)));
        assert!((24..=26).contains(&longer(1_000, 2)), "exponential: a quarter after two medians");
        assert!((49..=51).contains(&longer(500, 1)), "a median is one whatever the shape");
        assert!((24..=26).contains(&longer(500, 4)), "shape 1/2: 2^-(4^0.5)");
        assert!((5..=7).contains(&longer(500, 16)), "shape 1/2: 2^-(16^0.5)");
        assert!((5..=7).contains(&longer(2_000, 2)), "shape 2: 2^-(2^2)");
    }
}
