//! Edge devices with those behind them (`spec/service.md` 2.5).

use iothub_protocol::registry::{DeviceIdentity, IdentitySpec, IfMatch};
use serde_json::Value;

use super::Registry;
use crate::{Error, ErrorKind, Query, query};

impl Registry<'_> {
    /// Puts a device behind an edge device, whatever it was behind before. Both are read first; the
    /// change is refused with `PreconditionFailed` if somebody else changes the child meanwhile.
    pub async fn set_parent(
        self,
        child: &(impl ToString + ?Sized),
        parent: &(impl ToString + ?Sized),
    ) -> Result<DeviceIdentity, Error> {
        let edge = self.device(parent).await?;
        let scope = edge.device_scope.filter(|_| edge.iot_edge).ok_or_else(|| {
            let what = format!("{} is no edge device", edge.device_id);
            Error::new(ErrorKind::Unsuitable(what))
        })?;
        self.move_behind(child, Some(scope)).await
    }

    /// Takes a device from behind its parent; one without a parent stays as it is.
    pub async fn remove_parent(
        self,
        child: &(impl ToString + ?Sized),
    ) -> Result<DeviceIdentity, Error> {
        self.move_behind(child, None).await
    }

    /// The edge device that a device is behind.
    pub async fn parent(
        self,
        child: &(impl ToString + ?Sized),
    ) -> Result<Option<DeviceIdentity>, Error> {
        let child = self.device(child).await?;
        // A leaf may have its parent's scope only as its own (`spec/service.md` 2.2).
        let leafs = child.device_scope.filter(|_| !child.iot_edge);
        let Some(scope) = child.parent_scopes.into_iter().next().or(leafs) else {
            return Ok(None);
        };
        let text = format!(
            "select deviceId from devices where capabilities.iotEdge=true and deviceScope='{}'",
            query::escape(&scope)
        );
        match self.device_ids(text).await?.first() {
            Some(parent) => self.device(parent).await.map(Some),
            None => Ok(None),
        }
    }

    /// The devices behind an edge device; none if it has no scope.
    pub async fn children(self, parent: &(impl ToString + ?Sized)) -> Result<Vec<String>, Error> {
        let parent = self.device(parent).await?;
        let Some(scope) = parent.device_scope.filter(|_| parent.iot_edge) else {
            return Ok(Vec::new());
        };
        let text = format!(
            "select deviceId from devices where array_contains(parentScopes, '{}')",
            query::escape(&scope)
        );
        self.device_ids(text).await
    }

    async fn move_behind(
        self,
        child: &(impl ToString + ?Sized),
        scope: Option<String>,
    ) -> Result<DeviceIdentity, Error> {
        let current = self.device(child).await?;
        let if_match = IfMatch::ETag(current.etag.clone());
        let mut spec = IdentitySpec::from(current);
        spec.parent_scopes = Some(scope.iter().cloned().collect());
        if !spec.iot_edge {
            spec.device_scope = scope;
        }
        self.update_device(child, &spec, &if_match).await
    }

    async fn device_ids(self, text: String) -> Result<Vec<String>, Error> {
        let rows = Query::new(self.transport, text).collect().await?;
        let id = |row: &Value| row["deviceId"].as_str().map(str::to_owned);
        Ok(rows.iter().filter_map(id).collect())
    }
}
