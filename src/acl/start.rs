//! The users of a server that starts: those of its configuration, or of its file of users.

use super::{file, Acl, Rules, Users, Vocabulary};
use crate::config::{error_text, Config};
use crate::error::shown;
use std::sync::Arc;

/// Users from one place only: two would contradict each other.
const TWO_PLACES: &str = "Configuring Redis with users defined in redis.conf and at the same \
                          setting an ACL file path is invalid. This setup is very likely to lead \
                          to configuration errors and security holes, please define either an ACL \
                          file or declare users directly in your redis.conf, but not both.";

/// The users that `config` names, and lines for the log about what may be a mistake. The refusal
/// is lines for the log too.
pub fn at_start(
    config: &Config,
    vocabulary: &'static Vocabulary,
) -> Result<(Acl, Vec<String>), Vec<String>> {
    let settings = config.settings();
    let rules = Rules { vocabulary, all_channels: settings.acl_pubsub_allchannels };
    let mut acl = Acl::new(rules);
    acl.put(Arc::new(acl.default_with_password(&settings.requirepass)));
    if !settings.aclfile.is_empty() && !config.users().is_empty() {
        return Err(vec![TWO_PLACES.to_string()]);
    }
    let mut notices = Vec::new();
    for words in config.users() {
        let user = file::configured(words, &rules)
            .map_err(|why| vec![why, "Critical error while loading ACLs. Exiting.".to_string()])?;
        if !user.enabled {
            notices.push(format!(
                "The user '{}' is disabled (there is no 'on' modifier in the user description). \
                 Make sure this is not a configuration error.",
                String::from_utf8_lossy(&user.name)
            ));
        }
        acl.put(Arc::new(user));
    }
    if !settings.aclfile.is_empty() {
        let users = from_file(config, &rules)
            .map_err(|why| shown(&why))
            .map_err(|why| vec![format!("Aborting Redis startup because of ACL errors: {why}")])?;
        acl.put_all(users);
    }
    Ok((acl, notices))
}

/// The users of the file that `aclfile` names.
pub fn from_file(config: &Config, rules: &Rules) -> Result<Users, Vec<u8>> {
    let name = &config.settings().aclfile;
    let text = std::fs::read(config.path(name)).map_err(|error| {
        format!("Error loading ACLs, opening file '{name}': {}", error_text(&error)).into_bytes()
    })?;
    file::read(name, &text, rules)
}
