import java.lang.instrument.Instrumentation;

/** Started before the main class: by -javaagent, or by the manifest of the jar that is run. */
public class Agent {
    public static void premain(String options, Instrumentation instrumentation) {
        System.out.println("premain " + options);
    }

    public static void agentmain(String options, Instrumentation instrumentation) {
        System.out.println("agentmain " + options + " " + instrumentation.isRedefineClassesSupported());
    }
}
