//! Addresses: which of each Network's are held, and by whom.
