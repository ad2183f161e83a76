import de.bwaldvogel.mongo.MongoServer;
import de.bwaldvogel.mongo.backend.memory.MemoryBackend;
import de.bwaldvogel.mongo.bson.Document;
import de.bwaldvogel.mongo.wire.message.MongoMessage;
import io.netty.channel.Channel;

/**
 * A MongoDB-speaking server for BunBun's tests: mongo-java-server in memory, on 127.0.0.1 and the
 * port that is the only argument. It ends when its standard input does, so that it never outlives
 * the test that started it.
 */
public final class Launcher {
    private Launcher() {}

    public static void main(String[] arguments) throws Exception {
        MongoServer server = new MongoServer(new Backend());
        server.bind("127.0.0.1", Integer.parseInt(arguments[0]));
        while (System.in.read() >= 0) {
            // Nothing is expected there.
        }
        server.shutdownNow();
        System.exit(0);
    }

    /** Says the wire version that MongoDB 5.0 has; the server's own number is one too old for drivers. */
    private static final class Backend extends MemoryBackend {
        @Override
        public Document handleCommand(Channel channel, String database, String command, Document query) {
            return corrected(super.handleCommand(channel, database, command, query));
        }

        @Override
        public Document handleMessage(MongoMessage message) {
            return corrected(super.handleMessage(message));
        }

        private static Document corrected(Document reply) {
            if (reply != null && reply.containsKey("maxWireVersion")) {
                reply.put("maxWireVersion", 13);
            }
            return reply;
        }
    }
}
