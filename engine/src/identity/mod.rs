//! Evidence that endorses an attester: EK, AK and their certificates.
