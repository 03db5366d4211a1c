//! What a back end asks for (`spec/service.md`): one file per group of operations, each reads its
//! request, calls the hub once, and prints the reply.

mod bulk;
mod c2d;
mod configurations;
mod devices;
mod digital_twins;
mod feedback;
mod file_notifications;
mod jobs;
mod keys;
mod methods;
mod modules;
mod query;
mod registry_jobs;
mod statistics;
mod twins;

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;

use super::call::Call;
use super::route::Route;

/// Answers a request of a back end.
pub(super) async fn perform(
    call: &Call<'_>,
    route: Route<'_>,
    body: Incoming,
) -> Result<Response, Error> {
    match route {
        Route::ListDevices => devices::list(call).await,
        Route::Bulk => bulk::change(call, body).await,
        Route::Query => query::run(call, body).await,
        Route::RegenerateKeys => keys::regenerate(call, body).await,
        Route::GetDevice(device) => devices::get(call, device).await,
        Route::PutDevice(device) => devices::put(call, device, body).await,
        Route::DeleteDevice(device) => devices::delete(call, device).await,
        Route::PurgeC2d(target) => c2d::purge(call, target).await,
        Route::SendC2d(target) => c2d::send(call, target, body).await,
        Route::ApplyConfiguration(device) => configurations::apply(call, device, body).await,
        Route::ListModules(device) => modules::list(call, device).await,
        Route::GetModule(target) => modules::get(call, target).await,
        Route::PutModule(target) => modules::put(call, target, body).await,
        Route::DeleteModule(target) => modules::delete(call, target).await,
        Route::GetTwin(target) => twins::get(call, target).await,
        Route::PatchTwin(target) => twins::patch(call, target, body).await,
        Route::ReplaceTwin(target) => twins::replace(call, target, body).await,
        Route::InvokeMethod(target) => methods::invoke(call, target, body).await,
        Route::DeviceStatistics => statistics::devices(call).await,
        Route::ServiceStatistics => statistics::service(call).await,
        Route::ListRegistryJobs => registry_jobs::list(call).await,
        Route::CreateRegistryJob => registry_jobs::create(call, body).await,
        Route::GetRegistryJob(id) => registry_jobs::get(call, id).await,
        Route::CancelRegistryJob(id) => registry_jobs::cancel(call, id).await,
        Route::ListJobs => jobs::list(call).await,
        Route::GetJob(id) => jobs::get(call, id).await,
        Route::PutJob(id) => jobs::put(call, id, body).await,
        Route::CancelJob(id) => jobs::cancel(call, id).await,
        Route::ListConfigurations => configurations::list(call).await,
        Route::TestConfigurationQueries => configurations::test_queries(call, body).await,
        Route::GetConfiguration(id) => configurations::get(call, id).await,
        Route::PutConfiguration(id) => configurations::put(call, id, body).await,
        Route::DeleteConfiguration(id) => configurations::delete(call, id).await,
        Route::Feedback(wanted) => feedback::perform(call, wanted).await,
        Route::FileNotifications(wanted) => file_notifications::perform(call, wanted).await,
        Route::GetDigitalTwin(device) => digital_twins::get(call, device).await,
        Route::PatchDigitalTwin(device) => digital_twins::patch(call, device, body).await,
        Route::InvokeCommand(command) => digital_twins::invoke(call, command, body).await,
        Route::Device(..) => unreachable!("requests of devices are answered elsewhere"),
    }
}
