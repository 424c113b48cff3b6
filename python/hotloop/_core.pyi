"""Types of the native half; see the Rust sources in crates/hotloop/src for what each does."""
