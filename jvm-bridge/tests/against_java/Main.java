import java.io.IOException;
import java.util.TreeMap;

/** Does what its first argument says; with none that it knows, shows what it was given. */
public class Main {
    /** A class with no main method. */
    public static class NoMain {
    }

    static class FailsToStart {
        static final int VALUE = Integer.parseInt("no number");
    }

    public static void main(String[] args) throws Exception {
        String what = args.length == 0 ? "" : args[0];
        switch (what) {
            case "end" -> end(args[1]);
            case "properties" -> new TreeMap<>(System.getProperties()).forEach((name, value) -> {
                if (name.toString().matches("(test|sun|jdk|java\\.class|java\\.vm|java\\.home|java\\.library).*")) {
                    System.out.println(name + "=" + value);
                }
            });
            case "modules" -> ModuleLayer.boot().modules().stream().map(Module::getName).sorted()
                .forEach(System.out::println);
            case "open" -> {
                try {
                    ClassLoader.class.getDeclaredField("parent").setAccessible(true);
                    System.out.println("open");
                } catch (RuntimeException e) {
                    System.out.println(e.getMessage().replaceAll("@[0-9a-f]+", ""));
                }
            }
            // The main thread's stack has the size that was asked for: many frames, or few.
            case "depth" -> System.out.println("deep: " + (depth(0) > 20_000));
            default -> show(args);
        }
    }

    private static void show(String[] args) {
        System.out.println(args.length + " arguments in thread " + Thread.currentThread());
        for (String arg : args) {
            arg.codePoints().forEach(c -> System.out.printf("%x ", c));
            System.out.println();
        }
        System.out.println(System.getProperty("java.class.path"));
        System.out.println(System.getProperty("sun.java.command"));
        System.out.println(Main.class.getModule().isNamed() + " " + Main.class.getPackage().getImplementationTitle());
        System.out.println("asserts: " + Main.class.desiredAssertionStatus());
        try {
            Class<?> loader = ClassLoader.class;
            System.out.println("opened: " + Object.class.getModule().isOpen("java.lang", loader.getModule())
                + " " + Object.class.getModule().isOpen("java.lang", Main.class.getModule())
                + " " + Object.class.getModule().isExported("sun.nio.ch", Main.class.getModule()));
        } catch (RuntimeException e) {
            System.out.println(e);
        }
        new Throwable("the stack has nothing of the launcher").printStackTrace();
    }

    private static int depth(int n) {
        try {
            return depth(n + 1);
        } catch (StackOverflowError e) {
            return n;
        }
    }

    private static void end(String how) throws Exception {
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            System.out.println("hook");
            if (how.equals("exit-in-hook")) {
                Runtime.getRuntime().halt(9);
            }
        }));
        switch (how) {
            case "throw" -> throw new IOException("thrown", new RuntimeException("because"));
            case "exit", "exit-in-hook" -> System.exit(7);
            case "halt" -> Runtime.getRuntime().halt(300);
            case "init" -> System.out.println(FailsToStart.VALUE);
            case "handler" -> {
                Thread.setDefaultUncaughtExceptionHandler((thread, e) -> System.out.println(thread + " " + e));
                throw new IllegalStateException("for the handler");
            }
            case "threads" -> {
                Thread main = Thread.currentThread();
                new Thread(() -> {
                    try {
                        main.join();
                    } catch (InterruptedException e) {
                        throw new AssertionError(e);
                    }
                    System.out.println("after main: " + main.isAlive());
                    throw new RuntimeException("does not change the status");
                }, "other").start();
            }
            case "daemon" -> {
                Thread daemon = new Thread(() -> {
                    while (true) {
                        Thread.onSpinWait();
                    }
                });
                daemon.setDaemon(true);
                daemon.start();
            }
            case "stdin" -> System.out.println(new String(System.in.readAllBytes()));
            case "closed" -> {
                System.out.close();
                System.err.println("error output is still there");
            }
            case "wait" -> {
                System.out.println("ready");
                Thread.sleep(60_000);
            }
            case "crash" -> {
                java.lang.reflect.Field field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
                field.setAccessible(true);
                ((sun.misc.Unsafe) field.get(null)).getLong(8L);
            }
            default -> throw new IllegalArgumentException(how);
        }
    }
}
