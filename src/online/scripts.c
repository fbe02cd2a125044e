/*
 * scripts.c
 *		The Lua scripts that run inside Redis.  Constants only.
 *
 * A plain HSET, or MULTI ... EXEC, is faster than even a simple script (8 fields
 * over a unix socket on a busy 2-core machine: HSET 162k/s, MULTI with HSET,
 * HDEL and PEXPIRE 106k/s, EVALSHA 83k/s), so scripts serve only where an update
 * depends on what is stored.  All values arrive as arguments; nothing is pasted into
 * the text.
 */
#include "postgres.h"

#include "online/connection.h"

const char *const fe_redis_scripts[FE_NSCRIPTS] = {

	/*
	 * KEYS[1] the entity's key.  ARGV:
	 * 1 mode: 's' the source changed, 't' time has passed (neither renews nor
	 *   recreates), 'r' refill (fenced; renews only what is older than ours),
	 *   'a' refill after an option changed (as 'r', and the expiry is set anew)
	 * 2 ttl in ms, 0 = none
	 * 3 sharing: '0' the key is the view's own, '1' shared and every view has a
	 *   ttl, '2' shared and some view has none
	 * 4 the field that holds this view's LSN
	 * 5, 6 own LSN; 7, 8 this server's WAL end: high and low words
	 * 9 n = number of arguments that are fields and values; they follow, and
	 * after them the fields to delete
	 *
	 * Fence: what is stored is newer if own < stored <= WAL end.  A stored LSN
	 * beyond our WAL comes from another history and is overwritten.
	 */
	[FE_SCRIPT_PUSH] =
	"local k, mode, ttl, sharing = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3]\n"
	"local left = -1\n"
	"if mode ~= 's' or sharing ~= '0' or ttl == 0 then left = redis.call('PTTL', k) end\n"
	"if mode == 't' and left == -2 then return 0 end\n"
	"local renew = mode == 's' or mode == 'a'\n"
	"if mode == 'r' or mode == 'a' then\n"
	"  local h, l = string.match(redis.call('HGET', k, ARGV[4]) or '', '^(%x+)/(%x+)$')\n"
	"  if h then\n"
	"    h, l = tonumber(h, 16), tonumber(l, 16)\n"
	"    local oh, ol = tonumber(ARGV[5]), tonumber(ARGV[6])\n"
	"    local wh, wl = tonumber(ARGV[7]), tonumber(ARGV[8])\n"
	"    if (oh < h or (oh == h and ol < l)) and (h < wh or (h == wh and l <= wl)) then return 0 end\n"
	"    if oh ~= h or ol ~= l then renew = true end\n"
	"  else renew = true end\n"
	"end\n"
	"local last = 9 + tonumber(ARGV[9])\n"
	"redis.call('HSET', k, unpack(ARGV, 10, last))\n"
	"if ARGV[last + 1] then redis.call('HDEL', k, unpack(ARGV, last + 1)) end\n"
	"if mode == 't' then return 1 end\n"
	"if ttl == 0 then\n"
	"  if left >= 0 then redis.call('PERSIST', k) end\n"
	"elseif sharing == '0' then\n"
	"  if renew or left < 0 then redis.call('PEXPIRE', k, ttl) end\n"
	"elseif left == -2 or (left == -1 and sharing == '1') or (left >= 0 and renew and ttl > left) then\n"
	"  redis.call('PEXPIRE', k, ttl)\n"
	"end\n"
	"return 1\n",

	/*
	 * An entity of a view that shares its key is gone.  ARGV: 1 the longest ttl
	 * among the other views when this one had none (0 = leave the expiry),
	 * 2 '1' = a key without any other view's fields goes, '2' = a key without any of
	 * these fields is none of ours; then the view's fields.
	 */
	[FE_SCRIPT_GONE] =
	"local k = KEYS[1]\n"
	"if redis.call('HDEL', k, unpack(ARGV, 3)) == 0 and\n"
	"   (ARGV[2] == '2' or redis.call('EXISTS', k) == 0) then return 0 end\n"
	"local meta = redis.call('HEXISTS', k, '_ts') + redis.call('HEXISTS', k, '_lsn')\n"
	"if ARGV[2] == '1' and redis.call('HLEN', k) <= meta then\n"
	"  redis.call('DEL', k)\n"
	"elseif ARGV[1] ~= '0' and redis.call('PTTL', k) == -1 then\n"
	"  redis.call('PEXPIRE', k, ARGV[1])\n"
	"end\n"
	"return 1\n",

	/* A key that matches a template and belongs to no entity: deleted if it is
	 * a hash with our mark. */
	[FE_SCRIPT_STALE] =
	"local t = redis.call('TYPE', KEYS[1])\n"
	"if (t.ok or t) == 'hash' and redis.call('HEXISTS', KEYS[1], '_lsn') == 1 then\n"
	"  return redis.call('DEL', KEYS[1])\n"
	"end\n"
	"return 0\n",
};
