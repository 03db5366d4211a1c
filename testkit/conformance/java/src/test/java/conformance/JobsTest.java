package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.microsoft.azure.sdk.iot.device.twin.DirectMethodResponse;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubNotFoundException;
import com.microsoft.azure.sdk.iot.service.jobs.DirectMethodsJobOptions;
import com.microsoft.azure.sdk.iot.service.jobs.ScheduledJob;
import com.microsoft.azure.sdk.iot.service.jobs.ScheduledJobStatus;
import com.microsoft.azure.sdk.iot.service.jobs.ScheduledJobType;
import com.microsoft.azure.sdk.iot.service.jobs.ScheduledJobsClient;
import com.microsoft.azure.sdk.iot.service.query.JobQueryResponse;
import com.microsoft.azure.sdk.iot.service.query.QueryPageOptions;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.time.Duration;
import java.time.Instant;
import java.util.Date;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** Scheduled jobs through the service SDK. */
class JobsTest {
    private static final ScheduledJobsClient JOBS =
        new ScheduledJobsClient(Hub.connectionString("iothubowner"));

    @Test
    void aTwinJobUpdatesTwinsAndEachHasARow() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            String id = Hub.randomId();

            ScheduledJob created = JOBS.scheduleUpdateTwin(id, only(device.id), update(), new Date(), 60);

            assertEquals(ScheduledJobStatus.queued, created.getJobStatus());
            assertEquals("A", created.getUpdateTwin().getTags().get("site"));
            ScheduledJob done = ended(id);
            assertEquals(ScheduledJobStatus.completed, done.getJobStatus());
            assertEquals(1, done.getJobStatistics().getSucceededCount());
            assertEquals("A", Hub.TWINS.get(device.id).getTags().get("site"));
            JobQueryResponse rows =
                JOBS.query("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '" + id + "'");
            assertEquals(device.id, rows.next().getDeviceId());
        }
    }

    @Test
    void aMethodJobCallsDevices() throws Exception {
        try (TestDevice device = TestDevice.register(); TestDevice offline = TestDevice.register()) {
            device.open().subscribeToMethods(
                (name, payload, context) -> new DirectMethodResponse(200, Map.of("ok", true)), null);
            String id = Hub.randomId();
            var options = DirectMethodsJobOptions.builder()
                .payload(Map.of("delay", 5))
                .methodConnectTimeoutSeconds(0)
                .methodResponseTimeoutSeconds(Hub.LIMIT)
                .maxExecutionTimeSeconds(60)
                .build();

            JOBS.scheduleDirectMethod(id, only(device.id, offline.id), "reboot", new Date(), options);

            ScheduledJob done = ended(id);
            assertEquals(1, done.getJobStatistics().getSucceededCount());
            assertEquals(1, done.getJobStatistics().getFailedCount());
        }
    }

    @Test
    void aJobIsCancelled() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            String id = Hub.randomId();
            Date later = Date.from(Instant.now().plus(Duration.ofHours(1)));
            JOBS.scheduleUpdateTwin(id, only(device.id), update(), later, 60);

            assertEquals(ScheduledJobStatus.cancelled, JOBS.cancel(id).getJobStatus());

            assertEquals(ScheduledJobStatus.cancelled, JOBS.get(id).getJobStatus());
            assertTrue(Hub.TWINS.get(device.id).getTags().isEmpty());
        }
    }

    @Test
    void jobsAreListedPageByPage() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Set<String> ids = new HashSet<>();
            for (int n = 0; n < 3; n++) {
                String id = Hub.randomId();
                JOBS.scheduleUpdateTwin(id, only(device.id), update(), new Date(), 60);
                ended(id);
                ids.add(id);
            }

            QueryPageOptions two = QueryPageOptions.builder().pageSize(2).build();
            JobQueryResponse jobs =
                JOBS.query(ScheduledJobType.scheduleUpdateTwin, ScheduledJobStatus.completed, two);
            Set<String> listed = new HashSet<>();
            while (jobs.hasNext()) {
                assertTrue(listed.add(jobs.next(two).getJobId()));
            }

            assertTrue(listed.containsAll(ids), () -> listed + " lacks some of " + ids);
        }
    }

    @Test
    void theQueryClientFindsJobsAsWell() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            String id = Hub.randomId();
            JOBS.scheduleUpdateTwin(id, only(device.id), update(), new Date(), 60);
            ended(id);

            JobQueryResponse rows =
                Hub.QUERIES.queryJobs("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = '" + id + "'");
            JobQueryResponse jobs =
                Hub.QUERIES.queryJobs(ScheduledJobType.scheduleUpdateTwin, ScheduledJobStatus.completed);

            assertEquals(device.id, rows.next().getDeviceId());
            boolean found = false;
            while (jobs.hasNext()) {
                found |= jobs.next().getJobId().equals(id);
            }
            assertTrue(found, id);
        }
    }

    @Test
    void anUnknownJobIsNotFound() {
        assertThrows(IotHubNotFoundException.class, () -> JOBS.get(Hub.randomId()));
    }

    /** The job once it is neither waiting nor running. */
    private static ScheduledJob ended(String id) throws Exception {
        for (int tries = 0; tries < Hub.LIMIT * 10; tries++) {
            ScheduledJob job = JOBS.get(id);
            switch (job.getJobStatus()) {
                case queued, scheduled, running -> Thread.sleep(100);
                default -> {
                    return job;
                }
            }
        }
        throw new AssertionError(id + " has not ended");
    }

    private static Twin update() {
        Twin twin = new Twin();
        twin.getTags().put("site", "A");
        twin.getDesiredProperties().put("x", 1);
        return twin;
    }

    private static String only(String... ids) {
        return "deviceId IN ['" + String.join("', '", ids) + "']";
    }
}
