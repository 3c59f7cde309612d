# Runs inside the machine. One line a check; a check is a claim, a command, and what must stand in
# its words: `check CLAIM PATTERN COMMAND…`, or `refuse` where the command must fail as well.

passed=0 failed=0
verdict() { # CLAIM STATUS
  if [ "$2" = 0 ]; then passed=$((passed + 1)); echo "ok      $1"; return; fi
  failed=$((failed + 1)); echo "FAILED  $1"; tail -8 /tmp/said | sed 's/^/  | /'
}
check() { # CLAIM PATTERN COMMAND...
  claim=$1 pattern=$2; shift 2
  timeout ${patient:-60} "$@" >/tmp/said 2>&1 && grep -qE "$pattern" /tmp/said
  verdict "$claim" $?
}
refuse() { # the same, of a command that must end with status 1
  claim=$1 pattern=$2; shift 2
  timeout 60 "$@" >/tmp/said 2>&1
  [ $? = 1 ] && grep -qE "$pattern" /tmp/said
  verdict "$claim" $?
}
said() { # CLAIM PATTERN: of what a program in the background has said in /tmp/said
  grep -qE "$2" /tmp/said; verdict "$1" $?
}
control() { v4l2-ctl -d "$camera" -c "$1" || echo "control $1 failed"; }
until_said() { # PATTERN: for at most two minutes, since another program may need this machine's time
  for _ in $(seq 240); do grep -qE "$1" /tmp/said && return 0; sleep 0.5; done; return 1
}
until_frames() { # WORD: likewise, until a frame comes after that line
  for _ in $(seq 240); do sed "1,/^$1/d" /tmp/said | grep -q '^frame' && return 0; sleep 0.5; done; return 1
}
start_frames() { # frames without end, said to /tmp/said, from the first on
  : >/tmp/said
  frames "$camera" 100000 >>/tmp/said 2>&1 & watcher=$!
  until_said '^frame'
}
part() { echo "init: $1 from $(cut -d' ' -f1 /proc/uptime) s"; }
stop() { kill "$1" 2>/dev/null; wait "$1" 2>/dev/null; true; }

# vivid numbers its nodes as it likes.
node() { # PATTERN of `edgeclip cameras -v`
  edgeclip cameras -v 2>/dev/null | awk -v p="$1" '/^\/dev/ {path=$1} $0 ~ p {print path; exit}'
}
[ -e /share/starter.ecmodel ] && export EDGECLIP_MODEL=/share/starter.ecmodel
edgeclip cameras -v
camera=$(node 'takes ') metadata=$(node 'metadata') planes=$(node 'multi-planar')
echo "init: camera $camera, metadata $metadata, planes $planes"

part "the list and capture"
check "cameras lists the camera, its driver and its mode" "^$camera  vivid \(vivid, platform:" edgeclip cameras
check "a mode just large enough for the model is taken" "takes +[A-Z0-9]+ 640x360, 30 frames a second|takes +[A-Z0-9]+ 320x240" edgeclip cameras
check "metadata nodes show with -v alone" "metadata" edgeclip cameras -v
check "cameras --json is JSON with mode and formats" '"path":"/dev/video.*"usable":true,"mode":\{"format":' edgeclip cameras --json

for format in YUYV NV12 RGB3 GREY; do
  check "frames come as $format" "^frame [0-9]+: [0-9]+x[0-9]+, .*mean level ([3-9][0-9]|1[0-9]{2})$" frames "$camera" 5 "$format"
done
refuse "a form that the camera lacks is refused with those it has" 'MJPG asked of a camera without it.*YUYV' frames "$camera" 1 MJPG
refuse "a node of metadata names the camera" "metadata.*$camera" frames "$metadata" 1
refuse "a camera of planes that lie apart is refused" "multi-planar" frames "$planes" 1
refuse "a camera that is not there is answered with those that are" "no such device.*$camera" frames /dev/video99 1

frames "$camera" 100000 >/tmp/holder 2>&1 & holder=$!
sleep 2
refuse "a busy camera names its holder" "busy, held by frames \(process $holder\)" frames "$camera" 1
check "a busy camera is listed all the same" "takes " edgeclip cameras
stop $holder
refuse "another user is told of the group" "usermod -aG video" su nobody -c "/share/bin/frames $camera 1"
check "another user sees why in the list" "usermod -aG video" su nobody -c "/share/bin/edgeclip cameras"

start_frames
# Asleep for a second, as a slow program is: the driver fills its buffers and stops. The frame in hand is
# old rightly when it wakes; those that waited are not to be seen: they would be old and three numbers on.
asleep=$(wc -l </tmp/said)
for _ in 1 2 3 4; do kill -STOP $watcher; sleep 1; kill -CONT $watcher; sleep 1; done
waited=$(tail -n +"$asleep" /tmp/said | awk '/^frame/ {n = $2 + 0; if ($4 > 500 && n - last > 2) old++; last = n} END {print old + 0}')
echo "init: $waited frames that had waited"
[ "$waited" -le 1 ]; verdict "a program that was slow gets a fresh frame, not one that waited" $?
# A frame that a newer one has overtaken is given back unseen, so once may not be enough.
for _ in 1 2 3 4 5 6 7 8; do control inject_v4l2_buf_flag_error=1; done
until_said '^damaged'; said "a frame that is marked as damaged is skipped" '^damaged: '
control percentage_of_dropped_buffers=100
until_said '^silent'; said "a camera that falls silent does not block" '^silent'
control percentage_of_dropped_buffers=0
until_frames silent; verdict "frames come again after silence" $?
control inject_fatal_streaming_error=1
until_said '^lost'; said "a fatal streaming error is told" '^lost: .*(cable|refuses)'
until_frames lost; verdict "frames come again after a fatal streaming error" $?
stop $watcher

start_frames
control disconnect=1
until_said '^lost'; said "an unplugged camera is told" '^lost: .*gone'
until_frames lost; verdict "frames come again after it is plugged in" $?
kill -0 $watcher; verdict "the program has survived all of it" $?
stop $watcher

control inject_vidioc_streamon_error=1
refuse "a camera that does not start says what to try" "refuses to start.*rpicam-vid" frames "$camera" 1
check "and starts the next time" "^frame" frames "$camera" 1

# A camera of JPEGs is what is written to it: photos, in turn with one that breaks off.
loopback=$(node 'v4l2 loopback')
if [ -n "$loopback" ]; then
  part "MJPG"
  refuse "a loopback that nobody writes to is no camera yet" "no camera: .*output" frames "$loopback" 1
  cp /share/photos/*.jpg /tmp/ && head -c 30000 /tmp/coffee.jpg >/tmp/cut.jpg
  v4l2-ctl -d "$loopback" -c keep_format=1
  v4l2-ctl -d "$loopback" --set-fmt-video-out=width=640,height=480,pixelformat=MJPG
  # One write is one frame.
  while :; do for photo in coffee cut rocket; do dd if=/tmp/$photo.jpg bs=1M 2>/dev/null; sleep 0.2; done; done >"$loopback" & writer=$!
  sleep 1
  check "a camera of MJPG is listed with its mode" "takes +MJPG 640x480, 30 frames a second" edgeclip cameras
  check "frames come as MJPG" "^frame [0-9]+: 600x400, .*mean level 98$" frames "$loopback" 6 MJPG
  check "and each is the one that was written" "^frame [0-9]+: 640x427, .*mean level 65$" frames "$loopback" 6
  check "a JPEG that breaks off is skipped, and frames come after it" "^frame" sh -c "frames $loopback 8 | sed '1,/^damaged: .*breaks off/d'"
  # What differs by less than all is not encoded again: this is of the camera.
  patient=300 check "watch counts what it has skipped" "20 frames answered .*[1-9][0-9]* damaged" \
    edgeclip watch --camera "$loopback" --format MJPG --labels "coffee, rocket" --frames 20 --skip-unchanged 255
  stop $writer
fi

# The whole way: a class learned from the camera, a watch that answers, faults that are states. An encoder takes
# seconds a frame, where each instruction is emulated: once some were encoded the picture stands still.
part "the encoder"
moves=0 stands=3 # of vivid's menu; it stands at first
export XDG_RUNTIME_DIR=/tmp/run HOME=/tmp
watched() { # N: for at most eight minutes, until so many frames were answered
  for _ in $(seq 480); do [ "$(grep -c '^{"frame":' /tmp/frames)" -ge "$1" ] && return 0; sleep 1; done; return 1
}
control horizontal_movement=$moves
patient=300 check "a class is learned from the camera" "learned [0-9]+ photos of .test card." \
  edgeclip learn "test card" --camera "$camera" --fps 5 --frames 3 --over 1 --countdown 0
: >/tmp/said
edgeclip watch --camera "$camera" --fps 5 --skip-unchanged --json --each frame --log /tmp/said >/tmp/frames 2>/tmp/errors & watcher=$!
watched 10; control horizontal_movement=$stands
watched 30; verdict "watch answers 30 frames of the camera" $?
said "watch sees the class that was learned" '"event":"start".*"label":"test card"'
part "faults of a watch"
patient=300 check "a camera that a watch owns is lent to learn" "of .other card." \
  edgeclip learn "other card" --camera "$camera" --frames 2 --over 1 --countdown 0
edgeclip undo >/dev/null 2>&1
: >/tmp/said
control disconnect=1
until_said '"state":"fault"'; said "an unplugged camera is a state with its reason" '"state":"fault".*"reason":"'
until_said '"event":"end".*"state":"fault"'; said "and ends by itself when it is plugged in" '"event":"end".*"state":"fault"'
: >/tmp/said
control inject_fatal_streaming_error=1
until_said '"event":"end".*"state":"fault"'; said "so does a fatal streaming error" '"event":"end".*"state":"fault"'
stop $watcher

if [ $failed = 0 ]; then echo "passed: $passed checks"; else echo "failed: $failed of $((passed + failed)) checks"; fi
