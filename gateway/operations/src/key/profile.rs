//! Which algorithms keys may come to be with: the hub's profile. Keys that are there already are
//! not asked.

use hub_model::Algorithm;

use crate::Error;
use crate::hub::Hub;

impl Hub {
    /// Refuses an algorithm outside the hub's profile.
    ///
    /// # Errors
    /// [`Error::NotApproved`].
    pub(crate) fn check_profile(&self, algorithm: Algorithm) -> Result<(), Error> {
        let profile = self.profile();
        if profile.admits(algorithm) {
            return Ok(());
        }
        Err(Error::NotApproved(algorithm, profile.name()))
    }
}
