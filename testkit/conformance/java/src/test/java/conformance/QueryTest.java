package conformance;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import com.microsoft.azure.sdk.iot.device.DeviceClient;
import com.microsoft.azure.sdk.iot.device.twin.TwinCollection;
import com.microsoft.azure.sdk.iot.service.exceptions.IotHubBadFormatException;
import com.microsoft.azure.sdk.iot.service.query.QueryPageOptions;
import com.microsoft.azure.sdk.iot.service.query.RawQueryResponse;
import com.microsoft.azure.sdk.iot.service.query.TwinQueryResponse;
import com.microsoft.azure.sdk.iot.service.registry.Device;
import com.microsoft.azure.sdk.iot.service.registry.Module;
import com.microsoft.azure.sdk.iot.service.twin.Twin;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Queries over twins: filters, projections, aggregates and pages. */
class QueryTest {
    @Test
    void pagesOfTwinsFollowOneAnother() throws Exception {
        String site = siteOfFive();
        QueryPageOptions two = QueryPageOptions.builder().pageSize(2).build();
        TwinQueryResponse found = Hub.QUERIES.queryTwins(ofSite("SELECT *", site), two);

        assertNotNull(found.getContinuationToken(), "the first of three pages");
        List<String> ids = new ArrayList<>();
        while (found.hasNext()) {
            Twin twin = found.next(two);
            assertEquals(site, twin.getTags().get("site"));
            ids.add(twin.getDeviceId());
        }

        assertEquals(List.of(site + "-0", site + "-1", site + "-2", site + "-3", site + "-4"), ids);
    }

    @Test
    void aPageIsTakenUpAgainByItsToken() throws Exception {
        String site = siteOfFive();
        String query = ofSite("SELECT *", site);
        QueryPageOptions three = QueryPageOptions.builder().pageSize(3).build();
        String token = Hub.QUERIES.queryTwins(query, three).getContinuationToken();

        QueryPageOptions rest = QueryPageOptions.builder().pageSize(3).continuationToken(token).build();
        TwinQueryResponse found = Hub.QUERIES.queryTwins(query, rest);

        assertEquals(site + "-3", found.next().getDeviceId());
        assertEquals(site + "-4", found.next().getDeviceId());
        assertFalse(found.hasNext());
    }

    @Test
    void columnsAndAggregatesAreRaw() throws Exception {
        String site = siteOfFive();

        List<JsonObject> count = rows(ofSite("SELECT COUNT() AS number", site));
        List<JsonObject> floors = rows(ofSite("SELECT tags.floor, COUNT() AS n", site) + " GROUP BY tags.floor");
        List<JsonObject> columns = rows(ofSite("SELECT deviceId, tags.floor AS story", site));

        assertEquals(5, count.get(0).get("number").getAsInt());
        assertEquals(2, floors.size());
        assertEquals(5, floors.get(0).get("n").getAsInt() + floors.get(1).get("n").getAsInt());
        assertEquals(site + "-3", columns.get(3).get("deviceId").getAsString());
        assertEquals("1", columns.get(3).get("story").getAsString());
    }

    @Test
    void whatADeviceReportsCanBeAskedFor() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            DeviceClient client = device.open();
            client.subscribeToDesiredProperties((twin, context) -> { }, null);
            TwinCollection reported = TestDevice.twin(client).getReportedProperties();
            reported.put("battery", 81.5);
            TestDevice.report(client, reported);

            TwinQueryResponse found = Hub.QUERIES.queryTwins(
                "SELECT * FROM devices WHERE properties.reported.battery > 81"
                    + " AND connectionState = 'Connected' AND deviceId IN ['" + device.id + "']");

            assertEquals(device.id, found.next().getDeviceId());
            assertFalse(found.hasNext());
        }
    }

    @Test
    void modulesAreACollectionOfTheirOwn() throws Exception {
        try (TestDevice device = TestDevice.register()) {
            Hub.REGISTRY.addModule(new Module(device.id, "m1"));
            Hub.REGISTRY.addModule(new Module(device.id, "m2"));

            TwinQueryResponse found = Hub.QUERIES.queryTwins(
                "SELECT * FROM devices.modules WHERE deviceId = '" + device.id + "'");

            assertEquals("m1", found.next().getModuleId());
            assertEquals("m2", found.next().getModuleId());
            assertFalse(found.hasNext());
        }
    }

    @Test
    void rawRowsComePageByPage() throws Exception {
        String site = siteOfFive();
        QueryPageOptions two = QueryPageOptions.builder().pageSize(2).build();

        RawQueryResponse found = Hub.QUERIES.queryRaw(ofSite("SELECT deviceId", site), two);

        assertNotNull(found.getContinuationToken(), "the first of three pages");
        List<String> ids = new ArrayList<>();
        while (found.hasNext()) {
            ids.add(JsonParser.parseString(found.next(two)).getAsJsonObject().get("deviceId").getAsString());
        }
        assertEquals(List.of(site + "-0", site + "-1", site + "-2", site + "-3", site + "-4"), ids);
    }

    @Test
    void theTwinClientQueriesAsWell() throws Exception {
        String site = siteOfFive();

        TwinQueryResponse found =
            Hub.TWINS.query(ofSite("SELECT *", site), QueryPageOptions.builder().pageSize(4).build());

        int twins = 0;
        while (found.hasNext()) {
            assertEquals(site, found.next().getTags().get("site"));
            twins++;
        }
        assertEquals(5, twins);
    }

    @Test
    void whatCannotBeReadIsRefused() {
        for (String query : List.of("SELECT * FROM devices WHERE", "SELECT * FROM nowhere")) {
            assertThrows(IotHubBadFormatException.class, () -> Hub.QUERIES.queryTwins(query));
        }
    }

    /** Registers five devices with a tag that no other test uses. */
    private static String siteOfFive() throws Exception {
        String site = Hub.randomId();
        for (int number = 0; number < 5; number++) {
            String id = site + "-" + number;
            Hub.REGISTRY.addDevice(new Device(id));
            Twin tags = new Twin(id);
            tags.getTags().put("site", site);
            tags.getTags().put("floor", String.valueOf(number % 2));
            Hub.TWINS.patch(tags);
        }
        return site;
    }

    private static String ofSite(String columns, String site) {
        return columns + " FROM devices WHERE tags.site = '" + site + "'";
    }

    private static List<JsonObject> rows(String query) throws Exception {
        RawQueryResponse found = Hub.QUERIES.queryRaw(query);
        List<JsonObject> rows = new ArrayList<>();
        while (found.hasNext()) {
            rows.add(JsonParser.parseString(found.next()).getAsJsonObject());
        }
        return rows;
    }
}
