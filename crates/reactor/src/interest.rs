//! Directions of input and output, and sets of them.

/// One direction in which a descriptor can become ready.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub enum Direction {
    /// The descriptor can be read (or accepted from).
    Read,
    /// The descriptor can be written (or its connect has ended).
    Write,
}

/// A set of [`Direction`]s.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash, Default)]
pub struct Interest(u8);

impl Interest {
    /// Neither direction.
    pub const NONE: Self = Self(0);
    /// Reading alone.
    pub const READ: Self = Self(1);
    /// Writing alone.
    pub const WRITE: Self = Self(2);
    /// Both directions.
    pub const BOTH: Self = Self(3);

    /// Whether `direction` is in the set.
    #[must_use]
    pub const fn contains(self, direction: Direction) -> bool {
        self.0 & bit(direction) != 0
    }

    /// The set with `direction` added.
    #[must_use]
    pub const fn with(self, direction: Direction) -> Self {
        Self(self.0 | bit(direction))
    }

    /// The set with `direction` taken out.
    #[must_use]
    pub const fn without(self, direction: Direction) -> Self {
        Self(self.0 & !bit(direction))
    }

    /// Whether neither direction is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 & Self::BOTH.0 == 0
    }

    /// The same directions, of which one event shall be reported and no more (`EPOLLONESHOT`).
    #[must_use]
    pub(crate) const fn once(self) -> Self {
        Self(self.0 | ONCE)
    }

    /// Whether it is for one event only.
    #[must_use]
    pub(crate) const fn is_once(self) -> bool {
        self.0 & ONCE != 0
    }
}

impl From<Direction> for Interest {
    fn from(direction: Direction) -> Self {
        Self::NONE.with(direction)
    }
}

const ONCE: u8 = 4;

const fn bit(direction: Direction) -> u8 {
    match direction {
        Direction::Read => 1,
        Direction::Write => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_and_taking_out_touch_one_direction_only() {
        assert_eq!(Interest::NONE.with(Direction::Read), Interest::READ);
        assert_eq!(Interest::READ.with(Direction::Write), Interest::BOTH);
        assert_eq!(Interest::BOTH.without(Direction::Read), Interest::WRITE);
        assert!(Interest::WRITE.without(Direction::Write).is_empty());
        assert_eq!(Interest::WRITE.without(Direction::Read), Interest::WRITE);
    }

    #[test]
    fn contains_tells_the_directions_apart() {
        assert!(Interest::READ.contains(Direction::Read));
        assert!(!Interest::READ.contains(Direction::Write));
        assert!(Interest::from(Direction::Write).contains(Direction::Write));
        assert!(!Interest::NONE.contains(Direction::Read));
    }
}
