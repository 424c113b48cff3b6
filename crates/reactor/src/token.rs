//! The 64 bits that the kernel keeps for each registration and hands back with each event.
//!
//! A descriptor's number alone does not say whom an event is for: the number may have been closed and given out again
//! between the moment the kernel noted the event and the moment the loop looks at it. The generation tells the owners
//! of one number apart.

/// A descriptor's number together with the generation of its slot in the [`Registry`](crate::Registry).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub struct Token {
    fd: i32,
    generation: u32,
}

impl Token {
    /// The token of descriptor `fd` in the given generation.
    #[must_use]
    pub const fn new(fd: i32, generation: u32) -> Self {
        Self { fd, generation }
    }

    /// The descriptor's number.
    #[must_use]
    pub const fn fd(self) -> i32 {
        self.fd
    }

    /// Which of the number's successive owners is meant.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }

    /// The form that epoll's `data` field carries: generation in the upper half, number in the lower.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        (self.generation as u64) << 32 | self.fd.cast_unsigned() as u64
    }

    /// The inverse of [`Token::to_u64`].
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // each half is cut out on purpose
    pub const fn from_u64(bits: u64) -> Self {
        Self {
            fd: (bits as u32).cast_signed(),
            generation: (bits >> 32) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_64_bits_give_the_token_back(fd in any::<i32>(), generation in any::<u32>()) {
            let token = Token::new(fd, generation);
            prop_assert_eq!(Token::from_u64(token.to_u64()), token);
            prop_assert_eq!((token.fd(), token.generation()), (fd, generation));
        }

        #[test]
        fn every_64_bits_are_a_token(bits in any::<u64>()) {
            prop_assert_eq!(Token::from_u64(bits).to_u64(), bits);
        }
    }
}
