# What an app does with dalli, on the ports of two versions.
require "dalli"

one, two = ARGV.map { |port| Dalli::Client.new("127.0.0.1:#{port}") }

def check(what, holds)
  abort "not so: #{what}" unless holds
end

one.set("k", { "version" => 1 })
two.set("k", { "version" => 2 })
check "both have their own", one.get("k")["version"] == 1 && two.get("k")["version"] == 2
keys = (0...300).map { |number| "key:#{number}" } + ["l" * 245, "with blanks"]
one.multi { keys.each { |key| one.set(key, key.upcase) } }
check "many at once", one.get_multi(*keys, "none") == keys.to_h { |key| [key, key.upcase] }
check "nothing of the other's", two.get_multi(*keys) == {}
value, cas = one.get_cas("k")
check "cas", one.set_cas("k", value, cas) && !one.set_cas("k", value, cas)
one.replace("none", 1)
check "add and replace", one.add("k", 1) == false && one.get("none").nil?
check "raw", one.set("n", "5", 0, raw: true) && one.incr("n", 3) == 8 && one.decr("n", 1) == 7
check "from nothing", one.incr("new", 1, 0, 10) == 10
check "touch and gat", one.touch("k", 100) && one.gat("k", 100) == value
check "delete", one.delete("k") && !one.delete("k")
check "fetch", one.fetch("f") { "made" } == "made" && one.get("f") == "made"
check "version", one.version.values.first.start_with?("1.")
two.set("stays", "x")
one.flush_all
check "flushed", one.get_multi(*keys) == {}
check "the other was not", two.get("stays") == "x"
puts "all is well"
