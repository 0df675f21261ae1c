-- How healthy an object of kilonova.dev is, for Argo CD. One check for all kinds: what they have in
-- common is the condition Ready, and Stalled beside it where only a change of spec helps.
-- Argo CD gives the object as `obj`, and no library but base and table.

-- Reasons of Ready by which something is wrong now, though it may go on by itself.
local trouble = {
  CrashLoopBackOff = true,
  DiskFailed = true,
  DiskMissing = true,
  IOError = true,
  ImageChecksumMismatch = true,
  ImageFailed = true,
  InsufficientDisk = true,
  InsufficientMemory = true,
  LeaseStale = true,
  LibvirtError = true,
  NodeUnreachable = true,
  Refused = true,
  RestoreFailed = true,
  SegmentFailed = true,
  SegmentShared = true,
  UserDataMissing = true,
}

local function health(status, message)
  return { status = status, message = message or "" }
end

-- These have no status: they are good as soon as they are there.
if obj.kind == "Flavor" or obj.kind == "NetworkClass" then
  return health("Healthy")
end
if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", "it is being removed")
end

local conditions = {}
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    conditions[condition.type] = condition
  end
end
local ready = conditions.Ready
if ready == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "the controllers have not looked at it yet")
end

local stalled = conditions.Stalled
if stalled ~= nil and stalled.status == "True" then
  return health("Degraded", stalled.message)
end
if ready.status == "True" then
  return health("Healthy", ready.message)
end
if trouble[ready.reason] then
  return health("Degraded", ready.message)
end
-- Its guest ended by itself and may not be started again: it waits for a person.
if ready.reason == "GuestStopped" then
  return health("Suspended", ready.message)
end
return health("Progressing", ready.message)
