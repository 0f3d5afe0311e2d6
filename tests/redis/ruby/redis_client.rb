# What an app does with redis-rb, on the ports of two versions.
require "redis"

one, two = ARGV.map { |port| Redis.new(url: "redis://127.0.0.1:#{port}/1", timeout: 30) }

def check(what, holds)
  abort "not so: #{what}" unless holds
end

check "connected, in its database", one.ping == "PONG" && one.connection[:db] == 1
one.set("k", "one")
two.set("k", "two")
check "both have their own", one.get("k") == "one" && two.get("k") == "two"
found = one.pipelined do |pipeline|
  500.times { |number| pipeline.set("key:#{number}", number) }
  pipeline.mget("key:1", "key:499", "none")
end
check "a pipeline that is written whole", found.last == ["1", "499", nil] && found.size == 501
check "keys", one.keys("key:*").size == 500 && two.keys == ["k"]
check "scan", one.scan_each(match: "key:*").to_a.uniq.size == 500
check "a transaction", one.multi { |all| all.incr("n"); all.get("k") } == [1, "one"]
one.watch("k") do
  Redis.new(url: "redis://127.0.0.1:#{ARGV[0]}/1").set("k", "else")
  check "a watched key has changed", one.multi { |all| all.set("k", "lost") }.nil?
end
check "nothing is lost", one.get("k") == "else"
pushes = Thread.new { sleep 0.2; Redis.new(url: "redis://127.0.0.1:#{ARGV[0]}/1").lpush("q", "job") }
check "it waits for an element", one.brpop("other", "q", timeout: 20) == ["q", "job"]
pushes.join
check "it waits in vain", one.brpop("q", timeout: 1).nil?
check "it moves", one.lpush("q", "x") == 1 && one.rpoplpush("q", "r") == "x"
script = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
digest = one.script(:load, script)
check "a script", one.evalsha(digest, keys: ["n"], argv: [4]) == 5 && two.get("n").nil?
begin
  one.evalsha("0" * 40)
  abort "not so: it is not there"
rescue Redis::CommandError => error
  check "no script", error.message.start_with?("NOSCRIPT")
end
begin
  one.lpush("k", 1)
  abort "not so: it is no list"
rescue Redis::CommandError => error
  check "an error", error.message.start_with?("WRONGTYPE")
end
heard = Queue.new
listens = Thread.new do
  Redis.new(url: "redis://127.0.0.1:#{ARGV[0]}/1").subscribe("news") do |on|
    on.subscribe { heard << :ready }
    on.message { |channel, text| heard << [channel, text]; Thread.exit }
  end
end
check "it listens", heard.pop == :ready
check "nobody else does", two.publish("news", "wrong").zero? && one.publish("news", "right") == 1
check "it hears", heard.pop == ["news", "right"]
listens.join
one.flushdb
check "flushed, and not the other's", one.dbsize.zero? && two.get("k") == "two"
puts "all is well"
