return loadstring(string.dump(function() return 1 end))
local a,b=loadstring("\27Lua") return tostring(a)..tostring(b)
local d=false local a,b=load(function() if d then return nil end d=true return "\27Lua" end) return tostring(a)..tostring(b)
local d=false local a,b=load(function() if d then return nil end d=true return "return 5" end) return a()
return load("x")
return {load(function() return {} end)}
return loadstring("return 1+1")()
return {loadstring("1+")}
return {loadstring("1+","=name")}
redis.x=1
rawset(redis,"x",1)
setmetatable(redis,{})
table.insert(redis,1)
x=1
function f() end
return x
return _G[nil]
return _G[{}]
return _G[1]
return type(getmetatable(""))
return {type(getmetatable(redis)),type(getmetatable(_G)),type(getmetatable(_G).__index)}
error()
error({err="foo\nbar"})
error("a\nb")
error("\n\na\n\n")
error(1)
error("x",0)
error("x",2)
error(true)
error({err="X y", ignore_error_stats_update=true})
error({err="X y", extra=1})
return {err="a\nb"}
return {err=""}
return {err="-x"}
return {err="\r\nx\r\n"}
return {err="a\0b"}
return {err=1}
return {ok="a\nb"}
return {ok=1}
return {ok="a\0b"}
return redis.error_reply("x")
return redis.error_reply("-x")
return redis.error_reply("My Err\r\n")
return redis.error_reply("")
return redis.error_reply(1)
return redis.error_reply("a","b")
return redis.status_reply("FINE")
return redis.status_reply(1)
return redis.call()
return redis.pcall().err
return redis.pcall()
return redis.pcall({})
return redis.call({})
return redis.call(nil)
return redis.call("echo",{})
return redis.call("nosuch")
return redis.pcall("nosuch")
return redis.pcall("nosuch").ignore_error_stats_update
return redis.call("lpush","str","a")
return redis.pcall("lpush","str","a")
return redis.call("ping")
return redis.call("get","none")
return type(redis.call("get","none"))
return redis.call("echo","a\0b\r\nc")
return redis.call("echo", ARGV[2])
local ok,e=pcall(redis.call,"lpush","str","a") return {tostring(ok),e}
local ok,e=pcall(error,{err="abc"}) return {tostring(ok),type(e)}
local ok,e=pcall(error,{err={}}) return {tostring(ok),type(e)}
local ok,e=pcall(error) return {tostring(ok),type(e)}
return {pcall(function(...) return ... end, 1, nil, 3)}
local ok,e=xpcall(function() return redis.call("lpush","str","a") end, function(e) return e end) return {tostring(ok),type(e),e.err}
local function f() return redis.call("lpush","str","a") end \n local x = f() return x
local function f()\nerror("deep")\nend\nf()
return string.rep("x",-1)
return nil .. "x"
return #nil
local a a.b=1
return 1 < "x"
return {} < {}
return {} + 1
return (nil)()
redis.nosuch()
return ("x"):nosuch()
return redis.sha1hex()
return redis.sha1hex(nil)
return redis.sha1hex("abc")
return redis.sha1hex(12)
redis.log()
redis.log("a","b")
redis.log(10,"b")
redis.log(-1,"b")
redis.setresp()
redis.setresp(4)
redis.setresp("x")
redis.setresp(3) return {double=3.5}
redis.setresp(3) return {map={a=1}}
redis.setresp(3) return {set={a=true}}
redis.setresp(3) return {true,false}
return {double=3.5}
return {double=1e100}
return {double=1/0}
return {double=-0.0}
return {double="3"}
return {map={a={1,2}}}
return {map={[1]={map={b=2}}}}
return {map={}}
return {set={}}
return {set={a={1,2}}}
return {map={a={err="in map"}}}
return {set={[{1,2,3}]=true}}
return {big_number="123\r\n4"}
return {big_number=12}
return {verbatim_string={format="txt",string="hello"}}
return {verbatim_string={format="a",string="hello"}}
return {verbatim_string={format="abcdef",string="hello"}}
return {verbatim_string={format="",string="hello"}}
return {verbatim_string={format=1,string="hello"}}
return {verbatim_string={string="hello"}}
return {true,false,nil,1}
return {1,2,nil,4}
return {{1},{2,{3}},{}}
return {}
return {a=1}
return {1,{err="x"},2}
return {1,{ok="x"},2}
return false
return true
return nil
return
return 3.99
return -3.99
return {0.1, 3.99, -3.99, 1e300, 0/0, -1/0}
return 2^53
return "12"
return print
return cjson.null
return coroutine.create(function() end)
return function() end
redis.set_repl()
redis.set_repl(9)
redis.set_repl(redis.REPL_NONE)
return {redis.REPL_ALL,redis.REPL_AOF,redis.REPL_SLAVE,redis.REPL_REPLICA,redis.REPL_NONE}
return {redis.LOG_DEBUG,redis.LOG_VERBOSE,redis.LOG_NOTICE,redis.LOG_WARNING}
return redis.acl_check_cmd()
return redis.acl_check_cmd("nosuch")
return redis.acl_check_cmd("get","x")
return redis.breakpoint()
return {redis.debug("x")}
return redis.replicate_commands()
return {redis.call("echo",0.1),redis.call("echo",1e20),redis.call("echo",1e15),redis.call("echo",1e300),redis.call("echo",0.1+0.2),redis.call("echo",1/0),redis.call("echo",-1/0),redis.call("echo",0/0)}
local z=0 return {redis.call("echo",-z),redis.call("echo",-1.5e-7),redis.call("echo",123456789012345678),redis.call("echo",2^53),redis.call("echo",2^62),redis.call("echo",2^63),redis.call("echo",-(2^63)),redis.call("echo",1e-5),redis.call("echo",12345.678e10),redis.call("echo",1.5e22)}
local t={} t[1]=1 t[2]=nil t[3]=3 return t
return 1 +
return 'unfinished
#!lua flags=x\nreturn 1
#!lua foo=x\nreturn 1
#!lub\nreturn 1
#!lua
#!\nreturn 1
#!lua flags=no-writes,\nreturn 1
#!lua flags=\nreturn 1
#!lua flags=no-writes flags=allow-oom\nreturn 1
#!lua\nreturn {1,nosuch}
#!lua "flags=no-writes"\nreturn 1
#!lua 'flags=no-writes\nreturn 1
#!lua   \nreturn 7
return newproxy
return print
return dofile
return loadfile
return getfenv
return setfenv
return require
return io
return debug
return os.time
return os.clock() >= 0
return package
return module
return _VERSION
return redis.REDIS_VERSION_NUM > 0
local function f() return f()+1 end return f()
local function f() local x= pcall(f) return 1 end return f()
return coroutine.yield(1)
local c=coroutine.wrap(function() coroutine.yield(redis.call("ping")) error("in co") end) c() c()
local c=coroutine.create(function() error({err="tbl"}) end) local ok,e=coroutine.resume(c) return {tostring(ok),type(e)}
return select('#', pcall(error))
return {xpcall(function() error("a") end, function(e) return "h:"..e end)}
return tostring(1e15)..tostring(0.1)..tostring(-0)..tostring(1/0)..tostring(2^63)
return tonumber("0x10")..tonumber("  12  ")..tostring(tonumber("z",36))..tostring(tonumber("1e1"))
return string.format("%5.2f|%d|%s|%q|%x|%c", 3.14159, 42, "hi", "a\nb\0c\"", 255, 65)
return {string.find("hello world","o w"),string.match("key=val","(%w+)=(%w+)"),(string.gsub("abc","%w","%0%0"))}
local t={} for w in string.gmatch("one two","%a+") do t[#t+1]=w end return t
local t={} for w in string.gfind("one two","%a+") do t[#t+1]=w end return t
return string.find("a","(")
return string.gsub("abc","b","%2")
return {table.concat({1,2,3},","),table.getn({1,2}),table.maxn({1,2,[10]=1}),#{1,2,3}}
return table.concat({1,{},3})
return table.setn({},1)
local t={3,1,2} table.sort(t) return t
local t={3,1,"x"} table.sort(t) return t
local t={1,2,3} table.insert(t,2,9) return {table.remove(t),table.remove(t,1),t[1],t[2]}
table.insert({},1,2,3)
table.insert({})
local n=0 for k,v in pairs({a=1,b=2}) do n=n+v end return n
for k,v in pairs(nil) do end
for k,v in next,nil do end
return next({})
return {next({5})}
next({},"x")
return rawget({a=5},"a")
rawset(1,2,3)
setmetatable(1,{})
return setmetatable({},{__index=function(t,k) return k.."!" end}).abc
return getmetatable(setmetatable({},{__metatable="locked"}))
return math.floor(3.7)..math.ceil(3.2)..math.max(1,5,3)..math.min(4,2)..math.abs(-3)..math.fmod(7,3)..math.sqrt(16)..math.pow(2,10)..math.mod(7,3)
math.randomseed(1) return {tostring(math.random()),math.random(10),math.random(5,7)}
math.randomseed(-5) return {tostring(math.random()),math.random(10),math.random(-7,7)}
math.random(0)
math.random(2,1)
math.random(1,2,3)
math.randomseed()
math.randomseed("x")
return math.floor("x")
return collectgarbage("count") > 0
return collectgarbage("nosuch")
return gcinfo() > 0
return unpack({1,2,3})
return {unpack({1,2,3},2)}
return unpack({},1,1e8)
return type(KEYS)..type(ARGV)..#KEYS..#ARGV
KEYS[1]="x" return KEYS[1]
KEYS={}
return ARGV
return {KEYS,ARGV}
return cjson.encode({})
return cjson.encode({{},{a={}}})
return cjson.encode({1,2,nil,4})
return cjson.encode({[1]=1,[3]=3})
return cjson.encode({[100]=1})
return cjson.encode({[1]=1,[2]=2,[30]=3})
return cjson.encode({[1.5]=1})
return cjson.encode({[-1]=1})
return cjson.encode({[true]=1})
return cjson.encode(print)
return cjson.encode(0/0)
return cjson.encode(1/0)
return cjson.encode()
return cjson.encode(1,2)
return cjson.encode("\0\1\31\127/\"\\é")
return cjson.encode({1e14,1e15,123456789012345,0.1,1e-7,-0.0,100,1e100,123456.789e3})
local c=cjson.new() c.encode_number_precision(3) return {c.encode(3.14159),cjson.encode(3.14159)}
return cjson.new().encode_number_precision(15)
return cjson.new().encode_number_precision(0)
return cjson.new().encode_number_precision("x")
return cjson.new().encode_number_precision(1,2)
return {cjson.new().encode_sparse_array()}
return {cjson.new().encode_sparse_array(true,3,4)}
return {cjson.new().encode_sparse_array("on")}
return {cjson.new().encode_sparse_array("null")}
return {cjson.new().encode_sparse_array(5)}
return {cjson.new().encode_sparse_array(true,-1)}
return {cjson.new().encode_sparse_array({})}
local c=cjson.new() c.encode_sparse_array(true) return c.encode({[100]=1})
return {cjson.new().encode_max_depth(),cjson.new().decode_max_depth(),cjson.new().encode_max_depth(5)}
return cjson.new().encode_max_depth(0)
local c=cjson.new() c.encode_max_depth(2) return c.encode({{{1}}})
local c=cjson.new() c.decode_max_depth(2) return c.decode("[[[1]]]")
local c=cjson.new() return {c.encode_keep_buffer(),c.encode_keep_buffer(false),c.encode_keep_buffer("on")}
local c=cjson.new() return {c.encode_invalid_numbers(),c.encode_invalid_numbers("null"),c.encode({0/0,1/0})}
local c=cjson.new() return {c.encode_invalid_numbers(true),c.encode({0/0,1/0,-1/0})}
return cjson.new().encode_invalid_numbers("bad")
local c=cjson.new() return {c.decode_invalid_numbers(),c.decode_invalid_numbers(false)}
local c=cjson.new() c.decode_invalid_numbers(false) return c.decode("0x10")
local c=cjson.new() c.decode_invalid_numbers(false) return c.decode("nan")
return cjson.decode("0x10")
return tostring(cjson.decode("-Infinity"))
return tostring(cjson.decode("+1"))
return cjson.decode("[1,2")
return cjson.decode("{1:2}")
return cjson.decode("{\"a\" 2}")
return cjson.decode("{\"a\":2 3}")
return cjson.decode("[1 2]")
return cjson.decode("")
return cjson.decode("[] x")
return cjson.decode("\"\\u12\"")
return cjson.decode("\"\\ud800\"")
return cjson.decode("\"\\x\"")
return cjson.decode("\"abc")
return cjson.decode("\0\0")
return cjson.decode(nil)
return cjson.decode({})
return cjson.decode()
return cjson.decode("[\"\\u00e9\\ud83d\\ude00\\/\\b\"]")
return cjson.encode(cjson.decode('{"a":[1,2,{"b":null}],"c":"d"}'))
return tostring(cjson.decode("null")==cjson.null)
local t=1 for i=1,1001 do t={t} end return cjson.encode(t)
return cjson.decode(string.rep("[",1001))
return #cjson.encode(cjson.decode(string.rep("[",999)..string.rep("]",999)))
return cmsgpack.pack()
return cmsgpack.pack(1,"a",{1,2},{a=1},nil,true)
return {cmsgpack.unpack(cmsgpack.pack(1,"a",{1,2}))}
return cmsgpack.unpack()
return cmsgpack.unpack({})
return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3))}
return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),1)}
return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),2)}
return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),3)}
return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),4)}
return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3),-1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),2)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),2,1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),0)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),0,1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3),-1)}
return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3))}
return cmsgpack.unpack("\129\192\1")
return cmsgpack.unpack("\193")
return cmsgpack.unpack("\218\1")
return cmsgpack.unpack(string.rep("\145",9000))
local t={} t[1]=t return cmsgpack.pack(t)
return #{cmsgpack.unpack(string.rep("\1",7000))}
return cmsgpack.unpack(string.rep("\1",9000))
return struct.pack("i")
return struct.pack("i","x")
return struct.pack("i","12")
return struct.pack(">I2<I2",1,1)
return struct.pack("c5","abc")
return struct.pack("!3i",1)
return struct.pack("i33",1)
return struct.pack("i99999999999",1)
return struct.pack("z",1)
return struct.pack()
return {struct.unpack("c0","abc")}
return {struct.unpack("Bc0","\3abcd")}
return {struct.unpack("Bc0","\9abcd")}
return {struct.unpack("s","abc\0def")}
return {struct.unpack("s","abc")}
return {struct.unpack("i","abc")}
return {struct.unpack("i","abcd",0)}
return {struct.unpack("i","abcd",-1)}
return {struct.unpack("b","abcd",3)}
return {struct.unpack("b","abcd",5)}
return struct.size("!8bid")
return struct.size("s")
return struct.size("c0")
return struct.size("c5i3>h")
return struct.size("?")
return bit.band()
return bit.band("x")
return bit.tobit("0x1f")
return bit.bor(1,{})
return bit.tohex(255)
return bit.tohex(255,-4)
return bit.tohex(255,0)
return bit.lshift(1)
return redis.setresp(3)
redis.setresp(3) return redis.call("get","none")
redis.setresp(3) return type(redis.call("get","none"))
return error_handler
return type(__redis__err__handler)
goto x
return 0x10 .. 1e2 .. 3.0
return ("%d"):format(3.7)
return ("%s"):format(nil)
return #"\u{48}"
return tostring(nil)..tostring(true)
return tostring()
return string.char(256)
return string.byte("abc",1,-1)
return {string.byte("abc",1,-1)}
return math.huge
return math.pi
return bit.tohex(65535,-2147483648)
return {struct.unpack('fc0',struct.pack('f',1e30))}
return {struct.unpack('fc0',struct.pack('f',-1e30))}
return {struct.unpack('dc0',struct.pack('d',0/0))}
return {struct.unpack('dc0b',struct.pack('db',2^64,7))}
return {struct.unpack('dc0b',struct.pack('db',2^63,7))}
return #cmsgpack.pack(unpack({},1,7000))
return #cmsgpack.pack(unpack({},1,3000))
