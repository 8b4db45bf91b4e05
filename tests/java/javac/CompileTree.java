import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipInputStream;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/**
 * Compiles a source tree (a sources jar, or one of its own making) with the JDK's compiler and
 * prints the digest of each class file. Arguments: {@code generated COUNT} or {@code jar FILE [PACKAGE]}.
 */
public class CompileTree {
    public static void main(String[] args) throws Exception {
        Path root = Files.createTempDirectory("crema-javac");
        try {
            Path sources = Files.createDirectory(root.resolve("src"));
            Path classes = Files.createDirectory(root.resolve("classes"));
            if (args[0].equals("generated")) {
                generate(sources, Integer.parseInt(args[1]));
            } else {
                unpack(Path.of(args[1]), args.length > 2 ? args[2] : "", sources);
            }
            StringWriter said = new StringWriter();
            boolean good;
            JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
            try (StandardJavaFileManager files = compiler.getStandardFileManager(null, null, StandardCharsets.UTF_8);
                 PrintWriter out = new PrintWriter(said)) {
                List<Path> tree = find(sources, ".java");
                System.out.println(tree.size() + " sources");
                List<String> options = List.of("-d", classes.toString(), "-g", "-nowarn", "-proc:none",
                    "-Xlint:-options", "--release", "11");
                good = compiler.getTask(out, files, null, options, null, files.getJavaFileObjectsFromPaths(tree)).call();
            }
            System.out.println("compiled: " + good);
            System.out.print(said.toString().replace(root.toString(), "ROOT"));
            for (Path file : find(classes, ".class")) {
                byte[] content = Files.readAllBytes(file);
                byte[] digest = MessageDigest.getInstance("SHA-256").digest(content);
                System.out.println(HexFormat.of().formatHex(digest) + "  " + classes.relativize(file));
            }
        } finally {
            delete(root);
        }
    }

    private static List<Path> find(Path root, String suffix) throws IOException {
        try (Stream<Path> tree = Files.walk(root)) {
            return tree.filter(p -> p.toString().endsWith(suffix)).sorted().toList();
        }
    }

    private static void unpack(Path jar, String prefix, Path target) throws IOException {
        try (InputStream in = Files.newInputStream(jar); ZipInputStream zip = new ZipInputStream(in)) {
            for (ZipEntry e = zip.getNextEntry(); e != null; e = zip.getNextEntry()) {
                if (e.getName().endsWith(".java") && e.getName().startsWith(prefix)) {
                    Path file = target.resolve(e.getName());
                    Files.createDirectories(file.getParent());
                    Files.copy(zip, file);
                }
            }
        }
    }

    /** Sources with generics, lambdas, records of old style, inner classes, switches and streams. */
    private static void generate(Path target, int count) throws IOException {
        for (int i = 0; i < count; i++) {
            Path directory = Files.createDirectories(target.resolve("p" + i % 5));
            List<String> lines = new ArrayList<>();
            lines.add("package p" + i % 5 + ";");
            lines.add("import java.util.*; import java.util.function.*; import java.util.stream.*;");
            lines.add("public class C" + i + "<T extends Comparable<T>> implements Supplier<List<T>> {");
            lines.add("  public enum Kind { ONE, TWO { @Override int n() { return " + i + "; } }, THREE; int n() { return 3; } }");
            lines.add("  private final List<T> items = new ArrayList<>();");
            lines.add("  @SafeVarargs public C" + i + "(T... all) { items.addAll(Arrays.asList(all)); }");
            lines.add("  @Override public List<T> get() { return items.stream().sorted(Comparator.reverseOrder()).collect(Collectors.toList()); }");
            lines.add("  public int kind(Kind k, String s) { switch (s) { case \"a\": return k.n(); case \"b" + i
                + "\": return 2; default: switch (k) { case ONE: return 1; default: return s.length(); } } }");
            lines.add("  public class Inner { T first() { return items.isEmpty() ? null : items.get(0); } }");
            lines.add("  public static long sum(int n) { long s = 0; for (int i = 0; i < n; i++) { s += i * " + i + "L; } return s; }");
            lines.add("  public Function<Integer, Supplier<String>> curry(double d) { return x -> () -> x + \":\" + d + items; }");
            if (i >= 5) {
                lines.add("  public p" + i % 5 + ".C" + (i - 5) + "<String> other() throws Exception { try (java.io.StringReader r = "
                    + "new java.io.StringReader(\"x\")) { return new C" + (i - 5) + "<>(\"a\" + r.read()); } }");
            }
            lines.add("}");
            Files.write(directory.resolve("C" + i + ".java"), lines, StandardCharsets.UTF_8);
        }
    }

    private static void delete(Path root) throws IOException {
        Files.walkFileTree(root, new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
                Files.delete(file);
                return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult postVisitDirectory(Path directory, IOException e) throws IOException {
                Files.delete(directory);
                return FileVisitResult.CONTINUE;
            }
        });
    }
}
