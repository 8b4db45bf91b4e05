import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.lang.ref.SoftReference;
import java.lang.ref.WeakReference;
import java.lang.reflect.Field;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.AtomicReferenceArray;

/**
 * Stores references to young objects into old ones in every way there is, and checks that each old object still refers to
 * what was stored last. What should be there is kept in arrays of ints beside, which no collector follows.
 *
 * Args: threads, rounds, operations per round. Each thread has objects of its own, so the output depends on nothing else.
 */
public class Mutator {
    /** An object that knows whether it is whole. */
    static class Node {
        final int id;
        Node next;
        volatile Node other;
        final int[] payload;

        Node(int id) {
            this.id = id;
            payload = new int[] {id, ~id};
        }

        int checked() {
            if (payload.length != 2 || payload[0] != id || payload[1] != ~id) {
                throw new AssertionError("object " + id + " is damaged");
            }
            return id;
        }
    }

    static final int SLOTS = 20_000;
    static final VarHandle NEXT;
    static final VarHandle ELEMENTS = MethodHandles.arrayElementVarHandle(Node[].class);
    static final sun.misc.Unsafe UNSAFE;
    static final long OTHER_OFFSET;

    static {
        try {
            NEXT = MethodHandles.lookup().findVarHandle(Node.class, "next", Node.class);
            Field field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
            field.setAccessible(true);
            UNSAFE = (sun.misc.Unsafe) field.get(null);
            OTHER_OFFSET = UNSAFE.objectFieldOffset(Node.class.getDeclaredField("other"));
        } catch (ReflectiveOperationException error) {
            throw new ExceptionInInitializerError(error);
        }
    }

    /** One thread's objects. */
    static class World {
        long random;
        int made;
        /** Old after a few collections; young objects hang on them. */
        final Node[] holders = new Node[SLOTS];
        final Node[] elements = new Node[SLOTS];
        final AtomicReferenceArray<Node> atomics = new AtomicReferenceArray<>(256);
        final AtomicReference<Node> single = new AtomicReference<>();
        final HashMap<Integer, Node> map = new HashMap<>();
        final ArrayDeque<Node> queue = new ArrayDeque<>();
        final List<WeakReference<Node>> weak = new ArrayList<>();
        final List<SoftReference<Node>> soft = new ArrayList<>();
        /** Ids that should be found: 0 is null. */
        final int[] nextIds = new int[SLOTS];
        final int[] otherIds = new int[SLOTS];
        final int[] elementIds = new int[SLOTS];
        final int[] atomicIds = new int[256];
        final int[] mapIds = new int[512];
        int singleId;
        int queued;
        int dequeued;

        World(int seed) {
            random = seed * 0x9E3779B97F4A7C15L + 1;
            for (int n = 0; n < SLOTS; n++) {
                holders[n] = fresh();
            }
        }

        int below(int bound) {
            random ^= random << 13;
            random ^= random >>> 7;
            random ^= random << 17;
            return (int) ((random >>> 33) % bound);
        }

        Node fresh() {
            return new Node(++made);
        }

        void step() {
            int slot = below(SLOTS);
            Node node = fresh();
            switch (below(14)) {
                case 0, 1, 2 -> {
                    holders[slot].next = node;
                    nextIds[slot] = node.id;
                }
                case 3 -> {
                    holders[slot].other = node;
                    otherIds[slot] = node.id;
                }
                case 4, 5 -> {
                    elements[slot] = node;
                    elementIds[slot] = node.id;
                }
                case 6 -> {
                    NEXT.setRelease(holders[slot], node);
                    nextIds[slot] = node.id;
                }
                case 7 -> {
                    Node old = holders[slot].next;
                    if (!NEXT.compareAndSet(holders[slot], old, node)) {
                        throw new AssertionError("nobody else changes it");
                    }
                    nextIds[slot] = node.id;
                }
                case 8 -> {
                    UNSAFE.putObjectVolatile(holders[slot], OTHER_OFFSET, node);
                    otherIds[slot] = node.id;
                }
                case 9 -> {
                    ELEMENTS.getAndSet(elements, slot, node);
                    elementIds[slot] = node.id;
                }
                case 10 -> {
                    int index = slot % atomics.length();
                    atomics.getAndSet(index, node);
                    atomicIds[index] = node.id;
                    single.lazySet(node);
                    singleId = node.id;
                }
                case 11 -> {
                    // Young to old, and back over each other: lengths that compilers copy inline, and longer ones.
                    int length = 1 + below(below(4) == 0 ? 300 : 6);
                    Node[] young = new Node[length];
                    for (int n = 0; n < length; n++) {
                        young[n] = fresh();
                    }
                    int from = Math.min(slot, SLOTS - length - 3);
                    System.arraycopy(young, 0, elements, from, length);
                    for (int n = 0; n < length; n++) {
                        elementIds[from + n] = young[n].id;
                    }
                    System.arraycopy(elements, from, elements, from + 3, length);
                    System.arraycopy(elementIds, from, elementIds, from + 3, length);
                }
                case 12 -> {
                    int key = slot % 512;
                    map.put(key, node);
                    mapIds[key] = node.id;
                    queue.addLast(node);
                    queued += node.id;
                    if (queue.size() > 2000) {
                        dequeued += queue.pollFirst().checked();
                    }
                }
                default -> {
                    // A holder that is itself replaced: what was old dies, what is young becomes old.
                    node.next = holders[slot].next;
                    node.other = holders[slot].other;
                    holders[slot] = node;
                    if (below(8) == 0 && weak.size() < 2000) {
                        weak.add(new WeakReference<>(node));
                        soft.add(new SoftReference<>(node.next));
                    }
                }
            }
        }

        static void check(String what, int index, Node node, int id) {
            if ((node == null ? 0 : node.checked()) != id) {
                throw new AssertionError(what + " " + index + " should be " + id);
            }
        }

        void check() {
            for (int n = 0; n < SLOTS; n++) {
                holders[n].checked();
                check("next", n, holders[n].next, nextIds[n]);
                check("other", n, holders[n].other, otherIds[n]);
                check("element", n, elements[n], elementIds[n]);
            }
            for (int n = 0; n < atomicIds.length; n++) {
                check("atomic", n, atomics.get(n), atomicIds[n]);
            }
            for (int n = 0; n < mapIds.length; n++) {
                check("map", n, map.get(n), mapIds[n]);
            }
            check("single", 0, single.get(), singleId);
            int inQueue = queue.stream().mapToInt(Node::checked).sum();
            if (inQueue + dequeued != queued) {
                throw new AssertionError("the queue has lost something");
            }
            weak.forEach(reference -> {
                Node node = reference.get();
                if (node != null) node.checked();
            });
            soft.forEach(reference -> {
                Node node = reference.get();
                if (node != null) node.checked();
            });
            if (weak.size() >= 2000) {
                weak.clear();
                soft.clear();
            }
        }
    }

    public static void main(String[] args) throws InterruptedException {
        int threads = Integer.parseInt(args[0]);
        int rounds = Integer.parseInt(args[1]);
        int operations = Integer.parseInt(args[2]);
        World[] worlds = new World[threads];
        Throwable[] failures = new Throwable[threads];
        for (int n = 0; n < threads; n++) {
            worlds[n] = new World(n + 1);
        }
        // All of it becomes old.
        System.gc();
        Thread[] running = new Thread[threads];
        for (int n = 0; n < threads; n++) {
            World world = worlds[n];
            int thread = n;
            running[n] = new Thread(() -> {
                try {
                    for (int round = 0; round < rounds; round++) {
                        for (int operation = 0; operation < operations; operation++) {
                            world.step();
                        }
                        world.check();
                        if (thread == 0 && round == rounds / 2) {
                            System.gc();
                        }
                    }
                } catch (Throwable failure) {
                    failures[thread] = failure;
                }
            });
            running[n].start();
        }
        for (int n = 0; n < threads; n++) {
            running[n].join();
            if (failures[n] != null) {
                System.out.println("thread " + n + ": " + failures[n]);
                System.exit(1);
            }
            worlds[n].check();
            System.out.println("thread " + n + ": " + worlds[n].made + " objects, all well");
        }
    }
}
